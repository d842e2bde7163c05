"""qnas-ov: joint architecture and INT8/float policy search for OpenVINO on Intel CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qnas_ov.core.errors import QnasError

if TYPE_CHECKING:
    import torch

    from qnas_ov.core.progress import Progress
    from qnas_ov.ir import ExampleInputs
    from qnas_ov.pipeline import ModuleSource, SearchResult, Sensitivity

__version__ = "0.1.0"


def search(
    model: str | torch.nn.Module,
    *,
    out: str | Path,
    example_inputs: ExampleInputs | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    latency_db: str | None = None,
    **settings: Any,
) -> SearchResult:
    """Searches architecture and quantization policy of a model, as `qnas-ov search` does.

    Args:
        model: Name of a registered model (see `qnas-ov models`), a path, an id of the Hugging Face hub, or a torch
            module; of a module only the policy is searched.
        out: Run folder; new, or of the run to continue.
        example_inputs: What a module's `forward` takes: tensors or arrays by name, a sequence in order, or a single
            one, each with the batch on its first axis. All other axes keep the lengths that they have here.
        resume: Continue the run in `out`. The run of a module needs the same module again.
        progress: Receives what happens; None is silent.
        latency_db: Path of the database of latencies measured before, "none", or None for the one in the cache folder.
        settings: Further settings by the names of `qnas_ov.recipe.Recipe`, for instance `evaluations=60`.

    Returns:
        The verified front as a pandas DataFrame in `.front`, baselines in `.baselines`, and `.package(...)`.

    Raises:
        QnasError: If the input does not fit, or no candidate meets the constraints.
    """
    from qnas_ov.pipeline import run_search

    name, source = _model_and_source(model, example_inputs)
    given = {"model": name, **_plain(settings)}
    return run_search(given, out=Path(out), resume=resume, progress=progress, source=source, latency_db=latency_db)


def sensitivity(
    model: str | torch.nn.Module,
    *,
    out: str | Path | None = None,
    example_inputs: ExampleInputs | None = None,
    samples: int | None = None,
    latency: bool = True,
    progress: Progress | None = None,
    **settings: Any,
) -> Sensitivity:
    """Measures what INT8 costs each precision unit alone, as `qnas-ov sensitivity` does.

    Args:
        model: As for `search`.
        out: New folder for the tables, a page and the policy's network; None writes nothing.
        example_inputs: As for `search`.
        samples: Validation samples per unit; None takes all.
        latency: Whether to measure what INT8 saves.
        progress: Receives what happens; None is silent.
        settings: Further settings by the names of `qnas_ov.recipe.Recipe`; `max_drop` and `max_error` ask for a policy.

    Returns:
        The units, worst first, as a pandas DataFrame by `.table()`, and `.policy`.

    Raises:
        QnasError: If the input does not fit, or no policy keeps the limit.
    """
    from qnas_ov.pipeline import run_sensitivity

    name, source = _model_and_source(model, example_inputs)
    return run_sensitivity(
        {"model": name, **_plain(settings)},
        out=None if out is None else Path(out),
        samples=samples,
        latency=latency,
        progress=progress,
        source=source,
    )


def _model_and_source(
    model: str | torch.nn.Module, example_inputs: ExampleInputs | None
) -> tuple[str, ModuleSource | None]:
    """What a recipe calls the model, and its source if that is a module."""
    import torch

    from qnas_ov.core.errors import InputError

    if not isinstance(model, torch.nn.Module):
        if example_inputs is not None:
            raise InputError(f"example_inputs are for torch modules: '{model}' is none; leave them out")
        return str(model), None
    if example_inputs is None:
        raise InputError(
            "a torch module needs example_inputs to be converted: give what the forward of "
            f"{type(model).__name__} takes"
        )
    from qnas_ov.pipeline import ModuleSource

    source = ModuleSource(model, example_inputs)
    return source.model, source


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Paths as text, which is what a recipe holds."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}


__all__ = ["QnasError", "__version__", "search", "sensitivity"]
