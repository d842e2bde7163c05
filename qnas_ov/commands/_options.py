"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def options(*chosen: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator."""

    def decorate(command: F) -> F:
        for option in reversed(chosen):
            command = option(command)
        return command

    return decorate


def percent(text: str) -> float:
    """A share between 0 and 1, written as "2%" or 0.02."""
    try:
        share = float(text.strip().removesuffix("%")) / (100.0 if text.strip().endswith("%") else 1.0)
    except ValueError:
        share = float("nan")
    if not 0.0 < share < 1.0:
        raise click.BadParameter(f"'{text}' must lie between 0% and 100%: write for instance 2%")
    return share


LATENCY_DB = click.option(
    "--latency-db", metavar="PATH|none", help="Database of latencies measured before.  [default: in your cache folder]"
)
