"""Tables of texts: CSV, TSV and JSON lines, one file or one per split, with a text column or two and perhaps labels."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import InputError
from qnas_ov.tasks.sources import DataSource, Records, drop_unlabelled
from qnas_ov.tasks.splits import PART_NAMES

SUFFIXES = {".csv", ".json", ".jsonl", ".tsv"}

_PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"),
    ("text_a", "text_b"), ("text1", "text2"), ("query", "passage"),
)  # fmt: skip
_TEXTS = ("text", "sentence", "content", "review", "comment", "document", "tweet", "query", "question", "utterance")
_LABELS = (
    "label", "labels", "class", "category", "target", "score", "similarity_score", "similarity", "sentiment", "intent",
    "gold", "coarse_label", "fine_label",
)  # fmt: skip


def holds_tables(folder: Path) -> bool:
    """Whether a folder holds tables of texts."""
    return any(_tables(folder))


def _tables(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))


def open_tables(path: Path, *, text_columns: Sequence[str] = (), label_column: str | None = None) -> DataSource:
    """Reads a table, or a folder of them of which each is named after its split.

    Args:
        path: The file or folder.
        text_columns: One or two columns; guessed from usual names if left out.
        label_column: Likewise.

    Raises:
        InputError: If a file is no table of texts, or a column is missing.
    """
    parts: dict[str, Records] = {}
    notes: tuple[str, ...] = ()
    for name, file in _files_by_part(path).items():
        table = _read_file(file)
        texts, label = choose_columns(list(table), f"'{file}'", text_columns=text_columns, label_column=label_column)
        if label is None:
            notes = (no_labels(list(table)),)
        parts[name] = _records(file, table, texts, label)
    kept, left_out = drop_unlabelled(parts)
    notes = left_out or notes
    return DataSource(path.name, f"texts in {path.name}", "texts", kept, notes=notes)


def no_labels(columns: Sequence[str]) -> str:
    """The note that there is nothing to learn accuracy from."""
    return f"None of the columns {', '.join(columns)} is a label: networks are compared with the float network."


def _files_by_part(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"all": path}
    files = _tables(path)
    if len(files) == 1:
        return {"all": files[0]}
    found: dict[str, Path] = {}
    for file in files:
        part = PART_NAMES.get(re.split(r"[-_.]", file.name.lower())[0])
        if part is None or part in found:
            raise InputError(
                f"the tables in '{path}' must be named train, validation and test, one for each: '{file.name}' is not; "
                "rename the files, or give one of them"
            )
        found[part] = file
    return found


def choose_columns(
    columns: Sequence[str], place: str, *, text_columns: Sequence[str], label_column: str | None
) -> tuple[tuple[str, ...], str | None]:
    """Which columns hold the texts and the label.

    Raises:
        InputError: If a given column is missing, or the text cannot be told from the names.
    """
    for column in (*text_columns, *((label_column,) if label_column is not None else ())):
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise InputError(f"{place} has no column '{column}': choose among {', '.join(columns)}{hint}")
    if len(set((*text_columns, label_column))) <= len(text_columns):
        raise InputError(
            f"text and label columns of {place} must differ: got {', '.join(text_columns)} and {label_column}"
        )
    by_name = {column.lower(): column for column in columns}
    label = label_column or next((by_name[n] for n in _LABELS if n in by_name and by_name[n] not in text_columns), None)
    if text_columns:
        return tuple(text_columns), label
    free = {n: c for n, c in by_name.items() if c != label}
    pair = next((pair for pair in _PAIRS if all(n in free for n in pair)), None)
    if pair is not None:
        return (free[pair[0]], free[pair[1]]), label
    single = next((free[n] for n in _TEXTS if n in free), None)
    if single is None and len(free) == 1:
        (single,) = free.values()
    if single is None:
        raise InputError(
            f"no column of {place} has a usual name for texts: its columns are {', '.join(columns)}; "
            "name the one with --text-column"
        )
    return (single,), label


def _read_file(path: Path) -> Mapping[str, Sequence[Any]]:
    try:
        table = _read_lines(path) if path.suffix in (".json", ".jsonl") else _read_csv(path)
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror or error}; give the path of a table") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{path}' must be UTF-8 text: the byte {error.object[error.start]:#04x} at position {error.start} is not; "
            f"convert it, for instance with `iconv -f latin1 -t utf-8`"
        ) from error
    if not table or not len(next(iter(table.values()))):
        raise InputError(f"'{path}' must hold samples: it has no rows; add some")
    return table


def _read_csv(path: Path) -> Mapping[str, Sequence[Any]]:
    text = path.read_text(encoding="utf-8-sig")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
    try:
        header = next(rows, [])
        content = [row for row in rows if row]  # blank lines are no rows
    except csv.Error as error:
        raise InputError(f"cannot read '{path}' as a table: line {rows.line_num}: {error}; save it again") from error
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise InputError(f"columns must have names of their own: '{path}' has '{twice[0]}' twice; rename one")
    for number, row in enumerate(content, 1):
        if len(row) != len(header):
            raise InputError(
                f"every row must have as many fields as the header: row {number} of '{path}' has {len(row)} of "
                f"{len(header)}; put texts that hold commas in quotes"
            )
    return {name: [row[i] for row in content] for i, name in enumerate(header)}


def _read_lines(path: Path) -> Mapping[str, Sequence[Any]]:
    """Rows of JSON objects: one a line, or all in one array."""
    text = path.read_text(encoding="utf-8-sig")
    rows = _parse(path, text, "as JSON") if text.lstrip().startswith("[") else None
    if rows is None:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        rows = [_parse(path, line, f"as JSON in line {number}") for number, line in lines]
    names: dict[str, None] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(
                f"every row of '{path}' must be a JSON object with its columns: row {number} is {type(row).__name__}"
            )
        names |= dict.fromkeys(row)
    return {name: [row.get(name) for row in rows] for name in names}


def _parse(path: Path, text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"cannot read '{path}' {what}: {error}; write one JSON object a line") from error


def _records(path: Path, table: Mapping[str, Sequence[Any]], texts: Sequence[str], label: str | None) -> Records:
    def where(i: int) -> str:
        return f"row {i + 1} of '{path}'"

    columns = [table[name] for name in texts]
    for name, column in zip(texts, columns, strict=True):
        check_texts(column, name, where)
    labels = None if label is None else read_labels(table[label], label, where)
    return Records(len(columns[0]), lambda i: tuple(column[i] for column in columns), where, labels)


def check_texts(column: Iterable[Any], name: str, where: Any) -> None:
    """Checks that a column holds texts.

    Raises:
        InputError: With the first row that does not.
    """
    for i, value in enumerate(column):
        if not isinstance(value, str):
            found = "nothing" if value is None else type(value).__name__
            raise InputError(f"the column '{name}' must hold texts: {where(i)} holds {found}; mend or remove it")


def read_labels(column: Sequence[Any], name: str, where: Any) -> tuple[str, ...] | None:
    """The labels of a column as text; None if it holds -1 throughout, as test splits with secret labels do.

    Raises:
        InputError: With the first row that has no label, or more than one.
    """
    for i, value in enumerate(column):
        if isinstance(value, list | dict):
            raise InputError(
                f"a label must be a text or a number: {where(i)} has a {type(value).__name__} in the column '{name}'; "
                "give another --label-column, or one label a row"
            )
    labels = tuple("" if value is None else str(int(value) if isinstance(value, bool) else value) for value in column)
    if set(labels) == {"-1"}:
        return None
    for i, label in enumerate(labels):
        if not label.strip():
            raise InputError(
                f"every row must have a label: {where(i)} has none in the column '{name}'; add or remove it"
            )
    return labels
