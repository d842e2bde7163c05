"""A user's own metric, by the path from which Python imports it."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qnas_ov.core.errors import InputError, MeasurementError
from qnas_ov.tasks.metrics import Compute, Metric

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_TAKEN = {"output_error", "latency_ms", "size_bytes", "macs", "params", "candidate", "baseline"}


def is_own_metric(name: str) -> bool:
    """Whether `--metric` names a function to import rather than a known metric."""
    return ":" in name


def import_metric(path: str) -> Callable[..., Any]:
    """Imports the function of a metric; the working folder is searched too.

    Args:
        path: "package.module:function".

    Raises:
        InputError: If it does not read like that, cannot be imported, or cannot be called.
    """
    if not _PATH.fullmatch(path):
        raise InputError(f"--metric must be a known name or read like 'package.module:function': got '{path}'")
    module_name, _, name = path.partition(":")
    if name in _TAKEN:
        raise InputError(f"--metric '{path}': '{name}' is the name of another column; rename the function")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module's own code runs here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"cannot import '{module_name}' of --metric '{path}': {reason}; give a module that Python finds from "
            f"'{here}'"
        ) from error
    finally:
        sys.path.remove(here)
    if not hasattr(module, name):
        raise InputError(f"--metric '{path}': the module '{module_name}' has no '{name}'; give a function of it")
    function = getattr(module, name)
    if not callable(function):
        raise InputError(
            f"--metric '{path}' must be a function of outputs and labels: '{name}' is {type(function).__name__}"
        )
    return function


def own_metric(path: str, *, labelled: bool, rows: int = 1, outputs: np.ndarray, target: np.ndarray) -> Metric:
    """The metric of a user's function, tried on what the float network gives.

    The function maps outputs (n, ...) of the network's first output, and the labels (n,) or, where the data have none,
    the float network's outputs (n, ...), to a score per sample (n,), whose mean is the metric, or to one number. More
    is better.

    Args:
        path: "package.module:function".
        labelled: Whether the target is labels.
        rows: Consecutive outputs that make one sample.
        outputs: Some outputs of the float network.
        target: What they should be.

    Raises:
        InputError: If it cannot be imported, fails, or gives anything else than that.
    """
    function = import_metric(path)
    try:
        tried = _call(function, path, outputs, target, rows)
    except MeasurementError as error:
        raise InputError(f"{error}, on {len(outputs)} outputs of the float network; correct the function") from error

    def compute(outputs: np.ndarray, target: np.ndarray) -> np.ndarray | float:
        found = _call(function, path, outputs, target, rows)
        return found if tried.ndim else float(found)

    return Metric(
        column=path.partition(":")[2],
        compute=compute,
        labelled=labelled,
        per_sample=bool(tried.ndim),
        binary=None,
        rows=rows,
        identity=f"{path} {_digest(function)}",
    )


def _call(function: Compute, path: str, outputs: np.ndarray, target: np.ndarray, rows: int) -> np.ndarray:
    """What the function gives, float array (n,) or ().

    Raises:
        MeasurementError: If it fails, or gives anything else.
    """
    try:
        found = np.asarray(function(outputs, target), dtype=np.float64)
    except Exception as error:  # a user's own code
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MeasurementError(f"the metric '{path}' fails ({reason})") from error
    samples = len(outputs) // rows
    if found.shape not in ((), (samples,)):
        raise MeasurementError(
            f"the metric '{path}' must give one number or one per sample, and gives the shape {found.shape} for "
            f"{samples} samples"
        )
    if not np.isfinite(found).all():
        raise MeasurementError(
            f"the metric '{path}' must give finite numbers, and gives {found[~np.isfinite(found)][0]}"
        )
    return found


def _digest(function: Callable[..., Any]) -> str:
    """SHA-256 of the file that defines the function: results of another version do not count."""
    file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
