"""A strict reader of protobuf text format, for the messages that a Triton configuration of ours is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qnas_ov.core.errors import PackageError

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\["\\nrt])*")
      | (?P<integer>-?(?:0|[1-9][0-9]*)(?![\w.]))
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>[\[\]{}:,])""",
    re.VERBOSE,
)
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_LIMITS = {"int32": 2**31, "int64": 2**63}


@dataclass(frozen=True)
class Field:
    """A field of a message.

    Attributes:
        kind: "string", "int32", "int64", the names of an enum, or the fields of a message.
        repeated: Whether it may stand more than once.
    """

    kind: str | frozenset[str] | Mapping[str, Field]
    repeated: bool = False


def parse_pbtxt(text: str, fields: Mapping[str, Field], *, where: str) -> dict[str, Any]:
    """Parses a message.

    Stricter than protobuf: strings in double quotes only, not concatenated; decimal integers; no `<>`, no `;`.

    Args:
        text: Its text.
        fields: Its fields.
        where: What the text is called in an error.

    Returns:
        Values by field; a list for a repeated field. Fields that the text leaves out are left out.

    Raises:
        PackageError: With the line, if the text is no such message.
    """
    return _Parser(text, where).message(fields, end="")


def quote(text: str) -> str:
    """A string as protobuf text format writes it."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


class _Parser:
    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._tokens = self._scan(text)
        self._kind = self._text = ""
        self._line = 1
        self._advance()

    def _scan(self, text: str) -> Iterator[tuple[str, str, int]]:
        position, line = 0, 1
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                self._line = line
                raise self._error(f"'{text[position : position + 20].splitlines()[0]}' is not protobuf text")
            position = match.end()
            if match.lastgroup != "space":
                yield str(match.lastgroup), match.group(), line
            line += match.group().count("\n")
        yield "end", "", line

    def _advance(self) -> str:
        current = self._text
        self._kind, self._text, self._line = next(self._tokens)
        return current

    def _error(self, problem: str) -> PackageError:
        return PackageError(f"{self._where}, line {self._line}: {problem}")

    def _take(self, text: str) -> bool:
        if self._kind == "mark" and self._text == text:
            self._advance()
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._error(f"expected '{text}', found '{self._text}'")

    def message(self, fields: Mapping[str, Field], *, end: str) -> dict[str, Any]:
        """Fields up to the closing brace, or to the end of the text."""
        found: dict[str, Any] = {}
        while not (self._kind == "end" if end == "" else self._kind == "mark" and self._text == end):
            if self._kind != "word":
                raise self._error(f"expected a field, found '{self._text}'")
            name = self._text
            field = fields.get(name)
            if field is None:
                raise self._error(f"unknown field '{name}': known are {', '.join(sorted(fields))}")
            if name in found and not field.repeated:
                raise self._error(f"the field '{name}' stands twice")
            self._advance()
            values = self._values(name, field)
            if field.repeated:
                found.setdefault(name, []).extend(values)
            else:
                found[name] = values[0]
            self._take(",")
        if end:
            self._expect(end)
        return found

    def _values(self, name: str, field: Field) -> list[Any]:
        colon = self._take(":")
        if not colon and not isinstance(field.kind, Mapping):
            raise self._error(f"expected ':' after '{name}'")
        if not self._take("["):
            return [self._value(name, field)]
        if not field.repeated:
            raise self._error(f"the field '{name}' holds one value, not a list")
        values: list[Any] = []
        while not self._take("]"):
            if values:
                self._expect(",")
            values.append(self._value(name, field))
        return values

    def _value(self, name: str, field: Field) -> Any:
        kind = field.kind
        if isinstance(kind, Mapping):
            self._expect("{")
            return self.message(kind, end="}")
        if isinstance(kind, frozenset):
            if self._kind != "word" or self._text not in kind:
                raise self._error(f"'{name}' must be one of {', '.join(sorted(kind))}, found '{self._text}'")
            return self._advance()
        if kind == "string":
            if self._kind != "string":
                raise self._error(f"'{name}' must be a string in double quotes, found '{self._text}'")
            return re.sub(r"\\(.)", lambda m: _ESCAPES[m.group(1)], self._advance()[1:-1])
        if self._kind != "integer" or not -_LIMITS[kind] <= int(self._text) < _LIMITS[kind]:
            raise self._error(f"'{name}' must be an {kind}, found '{self._text}'")
        return int(self._advance())
