"""Docstrings of Python's standard library, by what they document: a small set of real texts that is always at hand.

The texts are those of the Python that runs, so that they differ a little from version to version; splits and results
name that version. Words are hashed to token numbers: no vocabulary has to be shipped, and any BERT with 2,048 tokens
reads them.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import re
import sysconfig
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from qnas_ov.core.errors import InputError
from qnas_ov.tasks.base import TASKS, Split, Task
from qnas_ov.tasks.metrics import TOP1

VOCABULARY = 2048
TOKENS = 32
TOPICS = {
    "asyncio": ("asyncio",),
    "email": ("email", "mailbox.py", "smtplib.py", "imaplib.py"),
    "testing": ("unittest", "doctest.py"),
    "numbers": ("_pydecimal.py", "decimal.py", "fractions.py", "statistics.py", "random.py", "numbers.py"),
    "processes": ("multiprocessing", "subprocess.py", "concurrent"),
    "files": ("pathlib.py", "pathlib", "shutil.py", "zipfile.py", "zipfile", "tarfile.py", "tempfile.py", "_pyio.py"),
    "web": ("http", "urllib", "socketserver.py", "xmlrpc", "ftplib.py"),
    "types": ("typing.py", "dataclasses.py", "enum.py", "inspect.py", "collections", "abc.py", "functools.py"),
}
"""Modules of the standard library by topic; those that a version lacks are passed over."""

_CLS, _FIRST_WORD = 1, 3
_FEWEST_WORDS = 5


@cache
def read_texts() -> tuple[tuple[str, int], ...]:
    """First paragraphs of docstrings and the number of their topic, without repetitions, in a fixed order.

    Raises:
        InputError: If this Python comes without the sources of its library.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, int] = {}
    for number, modules in enumerate(TOPICS.values()):
        for module in modules:
            place = root / module
            for path in sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.is_file() else []:
                for text in _docstrings(path):
                    found.setdefault(text, number)
    if len(set(found.values())) < len(TOPICS):
        raise InputError(
            f"the data set 'docstrings' needs the sources of Python's standard library: some are not in '{root}'; "
            "install them, or choose another data set"
        )
    return tuple(sorted(found.items()))


def _docstrings(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
    paragraphs = [" ".join(text.split("\n\n")[0].split()) for text in texts]
    return [text for text in paragraphs if len(_words(text)) >= _FEWEST_WORDS]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def encode(text: str) -> np.ndarray:
    """A text as token numbers (`TOKENS`,): 1, then a number for each word, then 0."""
    numbers = [_FIRST_WORD + zlib.crc32(w.encode()) % (VOCABULARY - _FIRST_WORD) for w in _words(text)][: TOKENS - 1]
    return np.array([_CLS, *numbers, *[0] * (TOKENS - 1 - len(numbers))], dtype=np.int64)


def _split_of(text: str) -> str:
    """Where a text stands, by its digest: the same in every version of Python that has it."""
    slot = hashlib.sha256(text.encode()).digest()[0] % 20
    return "test" if slot < 4 else "validation" if slot < 8 else "calibration" if slot < 9 else "train"


def load() -> Task:
    """Loads the texts as `input_ids`, `attention_mask` and `token_type_ids`, each int64 (n, 32)."""
    texts = read_texts()
    ids = np.stack([encode(text) for text, _ in texts])
    labels = np.array([number for _, number in texts], dtype=np.int64)
    names = np.array([_split_of(text) for text, _ in texts])
    arrays = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}
    splits = {
        name: Split({key: array[names == name] for key, array in arrays.items()}, labels[names == name])
        for name in ("train", "calibration", "validation", "test")
    }
    return Task(
        name="docstrings",
        metric=TOP1,
        labels=tuple(TOPICS),
        source=f"docstrings of the standard library of Python {platform.python_version()} (PSF-2.0)",
        train=splits["train"],
        calibration=splits["calibration"],
        validation=splits["validation"],
        test=splits["test"],
    )


TASKS.add("docstrings", load)
