"""Pages about runs, rendered from what their folders hold."""

from qnas_ov.report._benchmark import render_benchmark
from qnas_ov.report._compare import check_comparable, render_comparison
from qnas_ov.report._page import render_run, render_sensitivity
from qnas_ov.report._read import read_run
from qnas_ov.report._run import Run

__all__ = [
    "Run",
    "check_comparable",
    "read_run",
    "render_benchmark",
    "render_comparison",
    "render_run",
    "render_sensitivity",
]
