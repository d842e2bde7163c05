"""Choices of elastic dimensions: published spaces scaled to a network's size, or what its configuration states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qnas_ov.core.errors import InputError
from qnas_ov.families.base import CONFIG_KEY, Architecture

SETTINGS = ("sequence_length", "image_size")
"""What the configuration's entry may state beside choices: sizes of inputs that the class itself leaves open."""

_NOT_CHOICES = {"architecture", "ordered", *SETTINGS}


def scaled(full: int, shares: Sequence[float], *, multiple: int = 1) -> tuple[int, ...]:
    """Shares of a dimension as ascending choices that end with the whole.

    Args:
        full: The dimension of the largest network.
        shares: Shares of it, at most 1.
        multiple: Choices below the whole are rounded to a multiple of this; SIMD kernels like 64.
    """
    while multiple > 1 and multiple * 4 > full:
        multiple //= 2  # in a small network rounding must not swallow the shares
    rounded = {max(multiple, round(full * share / multiple) * multiple) for share in shares}
    return (*sorted(value for value in rounded if value < full), full)


def read_choices(config: Mapping[str, Any], defaults: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The choices by dimension: those of the configuration's entry "qnas_ov", else the defaults.

    Raises:
        InputError: If the entry names a dimension that the family does not have, or holds no whole numbers.
    """
    stated = {k: v for k, v in config.get(CONFIG_KEY, {}).items() if k not in _NOT_CHOICES}
    unknown = sorted(set(stated) - set(defaults))
    if unknown:
        raise InputError(
            f"'{CONFIG_KEY}' in config.json must name elastic dimensions of this family ({', '.join(defaults)}): "
            f"got '{unknown[0]}'; correct it or take it out"
        )
    for name, values in stated.items():
        if not isinstance(values, list) or not values or any(type(v) is not int for v in values):
            raise InputError(
                f"choices of '{name}' in config.json must be a list of whole numbers: got {str(values)[:80]}; correct "
                f"them under '{CONFIG_KEY}'"
            )
    return {name: tuple(stated.get(name, default)) for name, default in defaults.items()}


def subnetwork_entry(config: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """The entry "qnas_ov" in the configuration of a subnetwork."""
    stated = config.get(CONFIG_KEY, {})
    return {**{name: stated[name] for name in SETTINGS if name in stated}, "architecture": dict(architecture)}


def is_ordered(config: Mapping[str, Any]) -> bool:
    """Whether config.json says that the order of the channels counts, as `qnas-ov train` writes it."""
    return bool(config.get(CONFIG_KEY, {}).get("ordered", False))
