"""Imports of packages that may be absent or broken, with an error that names the remedy."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from qnas_ov.core.errors import MissingDependencyError

BROKEN_TORCHVISION = (
    "torchvision is installed but cannot be imported beside this torch ({reason}): a CUDA wheel of torchvision stands "
    "next to a CPU torch and breaks transformers and optimum-intel; remove it with `pip uninstall torchvision` "
    "(qnas-ov does not need it) or install the build that matches your torch"
)


def torchvision_fault() -> str | None:
    """Why `import torchvision` fails, or None if it works or is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        return None
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # its import runs native code and raises whatever that raises
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


def import_optional(module: str, *, name: str | None = None, extra: str | None = None) -> Any:
    """Imports a module, or one name of it, turning a failure into a clear error.

    Args:
        module: Dotted name of the module.
        name: What to take from it; packages that import lazily fail only here.
        extra: The extra of this package that installs it, if there is one.

    Raises:
        MissingDependencyError: If it is absent, or broken by a torchvision that cannot be imported.
    """
    try:
        found = importlib.import_module(module)
        return found if name is None else getattr(found, name)
    except Exception as error:
        fault = torchvision_fault()
        if fault is not None:
            raise MissingDependencyError(BROKEN_TORCHVISION.format(reason=fault)) from error
        remedy = f"pip install 'qnas-ov[{extra}]'" if extra else f"pip install {module.split('.')[0]}"
        raise MissingDependencyError(
            f"cannot import '{name or module}' ({error}): install it with `{remedy}`"
        ) from error
