"""What the pages tell a reader to type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_FILE = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True)
class Step:
    """One thing to do: a shell command, Python code, or a file to write.

    Attributes:
        kind: "command", "python" or "file".
        text: The command in one line, the code, or the file's content.
        name: Of the file.
    """

    kind: str
    text: str
    name: str = ""


def read_steps(page: Path) -> list[Step]:
    """The fenced blocks of a page in order; one whose first line is a comment with a file's name is that file."""
    steps = []
    for language, content in _BLOCK.findall(page.read_text(encoding="utf-8")):
        named = _FILE.match(content)
        if named is not None:
            steps.append(Step("file", content, named[1]))
        elif language == "python":
            steps.append(Step("python", content))
        else:
            assert language == "sh", f"a block of {page.name} is neither sh nor python, and names no file: {content}"
            steps += [Step("command", line) for line in _commands(content)]
    return steps


def _commands(content: str) -> list[str]:
    lines = content.replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def read_spans(page: Path) -> list[str]:
    """Code within the sentences of a page."""
    return [" ".join(span.split()) for span in _SPAN.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))]
