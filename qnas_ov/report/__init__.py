"""Reports of a run: plots and a self-contained HTML page."""

from qnas_ov.report._page import RunView, render_page, render_sensitivity

__all__ = ["RunView", "render_page", "render_sensitivity"]
