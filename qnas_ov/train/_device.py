"""What a training runs on."""

from __future__ import annotations

import torch

from qnas_ov.core.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "xpu")
_BIG = 10_000_000
"""Below so many weights the casts of autocast cost a CPU more than they save."""


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" takes CUDA or XPU where there is one.

    Raises:
        InputError: If it is not there.
    """
    available = [n for n in ("cuda", "xpu") if getattr(torch, n).is_available()]
    if name == "auto":
        return torch.device(available[0] if available else "cpu")
    if name not in DEVICES:
        raise InputError(f"--train-device must be one of {', '.join(DEVICES)}: got '{name}'")
    if name != "cpu" and name not in available:
        raise InputError(f"--train-device {name} must be there: this torch finds {', '.join(['cpu', *available])}")
    return torch.device(name)


def helps_bf16(device: torch.device, parameters: int, *, cpu_has_bf16: bool) -> bool:
    """Whether bf16 autocast is computed in hardware there and worth it for a network of so many weights."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "xpu":
        return True
    return parameters >= _BIG and cpu_has_bf16
