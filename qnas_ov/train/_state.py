"""Checkpoints of a training: one safetensors file that is whole or not there, and from which it goes on the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from qnas_ov.core.errors import RunFolderError

FORMAT = 1


def save_state(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Writes beside the target, then renames: a process that is killed leaves the checkpoint before.

    Args:
        path: The file.
        tensors: By name.
        facts: What is told as JSON.

    Raises:
        RunFolderError: If it cannot be written, for instance because the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(stored, part, metadata={"facts": json.dumps({**facts, "format": FORMAT})})
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise RunFolderError(
            f"cannot write the checkpoint '{path}': {error}; make room or choose another --out"
        ) from error


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `save_state` wrote.

    Raises:
        RunFolderError: If it is damaged or of another version.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {})["facts"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunFolderError(f"the checkpoint '{path}' is damaged: remove it and train again") from error
    if facts.get("format") != FORMAT:
        raise RunFolderError(f"the checkpoint '{path}' is of another version of qnas-ov: resume with that one")
    return tensors, facts


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """AdamW's moments and step counts, by "optimizer.<parameter>.<name>"."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Puts back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
