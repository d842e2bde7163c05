"""Errors a user can cause, each with one clear sentence, and the helper that words them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class QnasError(Exception):
    """Base of every error this package raises on purpose.

    The message is one sentence: what is wrong, the rule, what was given, and what to do. The command line
    prints it and exits with `exit_code`.
    """

    exit_code = 2


class InputError(QnasError, ValueError):
    """A value, name or file given by the user does not fit."""


class OpenAxesError(InputError):
    """A network leaves lengths of its inputs open: they must be given, or follow from the data."""


class UnknownNameError(QnasError, KeyError):
    """A name is not in its registry."""

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return str(self.args[0])


class RunFolderError(QnasError, RuntimeError):
    """A run folder cannot be used as asked: it holds another run, other settings, or is damaged."""


class PackageError(QnasError, ValueError):
    """A package is damaged, is not laid out as its server needs it, or does not repeat what it records."""


class ConstraintError(QnasError, ValueError):
    """No candidate meets the constraints."""


class MissingDependencyError(QnasError, ImportError):
    """An optional or broken package is needed for what was asked."""


class MeasurementError(QnasError, RuntimeError):
    """A measurement did not give a number; the text holds the tool's last lines."""

    exit_code = 1


class ReferenceMeasurementError(QnasError, RuntimeError):
    """The reference network or a baseline could not be measured: without it no latency means anything."""

    exit_code = 1


class GraphError(QnasError, ValueError):
    """A graph does not have the structure that an operation on it needs."""

    exit_code = 1


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UnknownNameError:
    """Words the error for a name that is not known: the choices and the nearest match.

    Args:
        kind: What the name names, for instance "model".
        given: The name that was given.
        known: The names that exist.
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UnknownNameError(f"unknown {kind} '{given}': choose one of {', '.join(names)}{hint}")
