from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from qnas_ov.core.errors import RunFolderError
from qnas_ov.core.records import Evaluation
from qnas_ov.journal import Journal


def evaluation(key: str = "k1", status: str = "ok") -> Evaluation:
    if status == "failed":
        return Evaluation(key, "search", "c002", (1, 0), "failed", reason="benchmark_app ended with code 1")
    return Evaluation(key, "search", "c001", (0, 1), "ok", {"latency_ms": 1.5}, {"drift": 1.01})


def test_what_is_appended_is_read_back_by_another_process_view(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.append(evaluation())
    journal.append(evaluation("k2", "failed"))
    other = Journal(tmp_path / "j.sqlite")  # the first is still open: what it wrote is committed
    assert other.evaluations() == [evaluation(), evaluation("k2", "failed")]
    frame = other.to_frame()
    assert list(frame["status"]) == ["ok", "failed"]
    assert frame["latency_ms"].isna().tolist() == [False, True]


def test_nothing_is_recorded_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.append(evaluation())
    with pytest.raises(ValueError, match="in the journal already"):
        journal.append(evaluation())


@pytest.mark.parametrize("damage", ["text", "truncated", "{broken", "{}", '{"a": NaN}', "[1]"])
def test_a_damaged_journal_is_refused_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    for i in range(60):
        journal.append(evaluation(f"k{i}"))
    journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal.close()
    if damage == "text":
        path.write_text("this is no database at all, but long enough to be read as one" * 40)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE evaluations SET evaluated = ? WHERE id = 3", (damage,))
        connection.close()
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match="damaged"):
        Journal(path)
    assert path.read_bytes() == before


def test_another_format_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.set_meta("format", 99)
    journal.close()
    with pytest.raises(RunFolderError, match="has format 99"):
        Journal(tmp_path / "j.sqlite")
