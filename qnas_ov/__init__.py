"""qnas-ov: joint architecture and INT8/float policy search for OpenVINO on Intel CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qnas_ov.core.errors import QnasError

if TYPE_CHECKING:
    from qnas_ov.core.progress import Progress
    from qnas_ov.pipeline import SearchResult

__version__ = "0.1.0"


def search(
    model: str, *, out: str | Path, resume: bool = False, progress: Progress | None = None, **settings: Any
) -> SearchResult:
    """Searches architecture and quantization policy of a model, as `qnas-ov search` does.

    Args:
        model: Name of a registered model, see `qnas-ov models`.
        out: Run folder; new, or of the run to continue.
        resume: Continue the run in `out`.
        progress: Receives what happens; None is silent.
        settings: Further settings by the names of `qnas_ov.recipe.Recipe`, for instance `evaluations=60`.

    Returns:
        The verified front as a pandas DataFrame in `.front`, baselines in `.baselines`, and `.package(...)`.

    Raises:
        QnasError: If the input does not fit, or no candidate meets the constraints.
    """
    from qnas_ov.pipeline import run_search

    return run_search({"model": model, **settings}, out=Path(out), resume=resume, progress=progress)


__all__ = ["QnasError", "__version__", "search"]
