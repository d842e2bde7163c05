"""How long work tells what it is doing; the command line shows it, a library call may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what happens, in order."""

    def say(self, text: str) -> None:
        """One finished step, in a line."""
        ...

    def begin(self, text: str, total: int) -> None:
        """Work of `total` steps begins; any earlier work has ended."""
        ...

    def step(self, text: str = "", count: int = 1) -> None:
        """`count` steps of it are done; `text` tells the latest result."""
        ...

    def end(self) -> None:
        """The work has ended."""
        ...


class Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Ignores the line."""

    def begin(self, text: str, total: int) -> None:
        """Ignores the beginning."""

    def step(self, text: str = "", count: int = 1) -> None:
        """Ignores the step."""

    def end(self) -> None:
        """Ignores the end."""
