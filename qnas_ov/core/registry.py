"""A registry of named things: registration beside the definition, errors that list the choices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from qnas_ov.core.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to entries of one kind; a duplicate name is an error."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Registers `entry` under `name` and returns it.

        Raises:
            ValueError: If the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} '{name}' is registered twice: choose another name for the second one")
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> T:
        """Returns the entry of that name.

        Raises:
            UnknownNameError: If there is none; the message lists the choices and the nearest match.
        """
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """The registered names, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
