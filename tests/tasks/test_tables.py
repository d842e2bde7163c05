from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_files import write_csv, write_lines

from qnas_ov.core.errors import InputError
from qnas_ov.tasks import DataSource, open_data

ROWS = [{"text": 'so, "good"\nand long', "label": "good"}, {"text": "bad ü", "label": "bad"}]


def contents(source: DataSource, part: str = "all") -> list[tuple[tuple[str, ...], str | None]]:
    records = source.parts[part]
    labels = records.labels or (None,) * records.count
    return [(records.read(i), labels[i]) for i in range(records.count)]


WANTED = [(('so, "good"\nand long',), "good"), (("bad ü",), "bad")]


def test_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    (tmp_path / "a.tsv").write_text('text\tlabel\n"so, ""good""\nand long"\tgood\nbad ü\tbad\n', encoding="utf-8-sig")
    write_csv(tmp_path / "a.csv", ROWS)
    write_lines(tmp_path / "a.jsonl", ROWS)
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.json"):
        source = open_data(tmp_path / name)
        assert contents(source) == WANTED, name
        assert (source.kind, source.labelled, source.name, source.notes) == ("texts", True, name, ())


def test_a_folder_of_files_named_by_split(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv", "test-part.csv"):
        write_csv(tmp_path / name, ROWS)
    source = open_data(tmp_path)
    assert list(source.parts) == ["validation", "test", "train"]
    assert contents(source, "validation") == WANTED


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "anything.csv", ROWS)
    assert contents(open_data(tmp_path)) == WANTED


def test_hidden_labels_of_a_test_split(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", [{"text": "a", "label": 1}])
    write_csv(tmp_path / "test.csv", [{"text": "a", "label": -1}])
    source = open_data(tmp_path)
    assert list(source.parts) == ["train"]
    assert "'test' of the data has no labels" in source.notes[0]


COLUMNS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[tuple[str, ...], str | None]]] = {
    "usual": ({"idx": 1, "sentence": "s", "label": 1}, {}, (("s",), "1")),
    "capitals": ({"Text": "t", "Label": "x"}, {}, (("t",), "x")),
    "pair": ({"sentence1": "a", "sentence2": "b", "score": 0.5}, {}, (("a", "b"), "0.5")),
    "questions": ({"question": "q", "sentence": "s", "label": True}, {}, (("q", "s"), "1")),
    "the only other one": ({"utter": "u", "intent": "x"}, {}, (("u",), "x")),
    "no labels": ({"text": "t", "id": 7}, {}, (("t",), None)),
    "given": ({"a": "t", "b": "x", "text": "no"}, {"text_columns": ("a",), "label_column": "b"}, (("t",), "x")),
    "given pair": ({"a": "1", "b": "2", "label": 0}, {"text_columns": ("b", "a")}, (("2", "1"), "0")),
    "a usual label as text": ({"label": "t", "class": "x"}, {"text_columns": ("label",)}, (("t",), "x")),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_are_found(tmp_path: Path, case: str) -> None:
    row, given, wanted = COLUMNS[case]
    source = open_data(write_lines(tmp_path / "a.jsonl", [row, row]), **given)
    assert contents(source)[0] == wanted
    assert bool(source.notes) == (wanted[1] is None)


def test_what_is_no_label_is_told(tmp_path: Path) -> None:
    source = open_data(write_lines(tmp_path / "a.jsonl", [{"text": "t", "id": 7}]))
    assert "text, id" in source.notes[0]
    assert "float network" in source.notes[0]


BAD_FILES: dict[str, tuple[str, bytes, dict[str, Any], list[str]]] = {
    "no such text column": (
        "a.csv", b"text,label\na,b\n", {"text_columns": ("txt",)},
        ["no column 'txt'", "text, label", "did you mean 'text'?"],
    ),
    "no such label column": (
        "a.csv", b"text,label\na,b\n", {"label_column": "labels"}, ["no column 'labels'", "did you mean 'label'?"],
    ),
    "one column twice": (
        "a.csv", b"text,label\na,b\n", {"text_columns": ("text",), "label_column": "text"}, ["must differ"],
    ),
    "no usual text": ("a.csv", b"one,two,label\na,b,c\n", {}, ["one, two, label", "--text-column"]),
    "two columns of a name": ("a.csv", b"text,text\na,b\n", {}, ["'text' twice"]),
    "not utf-8": ("a.csv", "text,label\nü,b\n".encode("latin1"), {}, ["UTF-8", "0xfc at position 11", "iconv"]),
    "not utf-8 lines": ("a.jsonl", b'{"text": "\xff"}\n', {}, ["UTF-8", "0xff"]),
    "empty": ("a.csv", b"", {}, ["no rows"]),
    "header only": ("a.csv", b"text,label\n", {}, ["no rows"]),
    "empty lines": ("a.jsonl", b"\n", {}, ["no rows"]),
    "too many fields": ("a.csv", b"text,label\na,b\nc,d,e\n", {}, ["row 2", "has 3 of 2", "quotes"]),
    "too few fields": ("a.csv", b"text,label\na\n", {}, ["row 1", "has 1 of 2"]),
    "open quote": ("a.csv", b'text,label\n"a,b\n', {}, ["as a table", "line"]),
    "not json": ("a.jsonl", b'{"text": "a"}\n{"text": \n', {}, ["as JSON in line 2"]),
    "no objects": ("a.jsonl", b'["a", "b"]\n', {}, ["JSON object", "row 1 is str"]),
    "no text": ("a.jsonl", b'{"text": "a"}\n{"text": null}\n', {}, ["'text' must hold texts", "row 2", "nothing"]),
    "numbers": ("a.jsonl", b'{"text": 5}\n', {}, ["'text' must hold texts", "row 1", "int"]),
    "no label": ("a.csv", b"text,label\na,b\nc,\n", {}, ["must have a label", "row 2", "'label'"]),
    "missing label": ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', {}, ["must have a label", "row 2"]),
    "several labels": (
        "a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": [1, 2]}\n', {}, ["row 2", "list", "'label'"],
    ),
    "unknown kind": ("a.docx", b"PK", {}, ["unknown kind", ".csv", ".npz"]),
    "one image": ("a.png", b"PK", {}, ["unknown kind"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_make_no_sense_are_refused(tmp_path: Path, case: str) -> None:
    name, content, given, words = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_data(tmp_path / name, **given)
    assert [w for w in [*words, name] if w not in str(caught.value)] == [], caught.value
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_folder_of_files_without_splits_is_refused(tmp_path: Path) -> None:
    for name in ("train.csv", "other.csv"):
        write_csv(tmp_path / name, ROWS)
    with pytest.raises(InputError, match=r"'other\.csv' is not"):
        open_data(tmp_path)
