"""The journal: every evaluation, committed to SQLite the moment it is measured, so that a run can be continued."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qnas_ov.core.errors import RunFolderError
from qnas_ov.core.fingerprint import canonical_json
from qnas_ov.core.records import Evaluation

FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    stage TEXT NOT NULL,
    candidate TEXT NOT NULL,
    genotype TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'failed')),
    evaluated TEXT NOT NULL,
    details TEXT NOT NULL,
    reason TEXT,
    finished_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
"""


class Journal:
    """Append-only record of a run's evaluations."""

    def __init__(self, path: Path) -> None:
        """Opens the journal, creating it if it is not there.

        Raises:
            RunFolderError: If the file is damaged, or was written by another version of the format.
        """
        self.path = path
        try:
            self._connection = sqlite3.connect(path)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            state = self._connection.execute("PRAGMA quick_check").fetchone()[0]
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            self._connection.executescript(_SCHEMA)
            found = self.meta("format")
            if found is None:
                self.set_meta("format", FORMAT)
            elif found != FORMAT:
                raise RunFolderError(
                    f"the journal {path} has format {found}, this version reads {FORMAT}: "
                    "continue with the version of qnas-ov that began the run"
                )
            self.evaluations()  # every row must be readable before anything is added
        except sqlite3.OperationalError as error:
            raise RunFolderError(
                f"the journal {path} cannot be opened ({error}): check the disk and the rights on its folder"
            ) from error
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(
                f"the journal {path} is damaged ({error}): restore it from a copy, or start again with another --out; "
                "it was left as it is"
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def meta(self, name: str) -> Any:
        """A stored setting, or None."""
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_meta(self, name: str, value: Any) -> None:
        """Stores a JSON-like setting."""
        with self._connection:
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, canonical_json(value)))

    def append(self, evaluation: Evaluation) -> None:
        """Writes one evaluation and commits it.

        Raises:
            ValueError: If its key is there already: nothing is measured twice.
            RunFolderError: If it cannot be written, for instance because the disk is full.
        """
        row = (
            evaluation.key,
            evaluation.stage,
            evaluation.candidate,
            canonical_json(list(evaluation.genotype)),
            evaluation.status,
            canonical_json(dict(evaluation.values)),
            canonical_json(dict(evaluation.details)),
            evaluation.reason,
        )
        try:
            with self._connection:
                self._connection.execute(
                    "INSERT INTO evaluations (key, stage, candidate, genotype, status, evaluated, details, reason) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
        except sqlite3.IntegrityError as error:
            raise ValueError(f"evaluation {evaluation.candidate} is in the journal already") from error
        except sqlite3.OperationalError as error:
            raise RunFolderError(
                f"the journal {self.path} cannot be written ({error}): free some disk space and go on with --resume"
            ) from error

    def evaluations(self, stage: str | None = None) -> list[Evaluation]:
        """All evaluations in the order they were measured, or those of one stage."""
        return [e for e in _read_evaluations(self._connection) if stage is None or e.stage == stage]

    def to_frame(self) -> pd.DataFrame:
        """All evaluations as a table, see `evaluations_frame`."""
        return evaluations_frame(self.evaluations())


@dataclass(frozen=True)
class Recorded:
    """What a journal holds: all evaluations in the order they were measured, and the settings stored beside them."""

    evaluations: tuple[Evaluation, ...]
    meta: Mapping[str, Any]


def read_journal(path: Path) -> Recorded:
    """Reads a journal and changes nothing in it, perhaps while a search writes it, perhaps in a read-only folder.

    Raises:
        RunFolderError: If it is missing, damaged, or of another version of the format.
    """
    remedy = "restore it from a copy"
    if not path.is_file() or not path.stat().st_size:
        raise RunFolderError(f"the journal {path} is missing or empty: {remedy}")
    try:
        found = _read(path)
    except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"the journal {path} is damaged ({error}): {remedy}") from error
    if found.meta.get("format") != FORMAT:
        raise RunFolderError(
            f"the journal {path} has format {found.meta.get('format')}, this version reads {FORMAT}: "
            "read it with the version of qnas-ov that began the run"
        )
    return found


def _read(path: Path) -> Recorded:
    def load(options: str) -> Recorded:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True)
        try:
            connection.execute("PRAGMA query_only=ON")
            meta = {name: json.loads(value) for name, value in connection.execute("SELECT name, value FROM meta")}
            return Recorded(tuple(_read_evaluations(connection)), meta)
        finally:
            connection.close()

    try:
        return load("mode=rw")
    except sqlite3.OperationalError:
        # WAL needs files beside the journal; where none can be made, the journal is whole if no log stands there.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return load("mode=ro&immutable=1")


def _read_evaluations(connection: sqlite3.Connection) -> list[Evaluation]:
    rows = connection.execute(
        "SELECT key, stage, candidate, genotype, status, evaluated, details, reason FROM evaluations ORDER BY id"
    ).fetchall()
    return [
        Evaluation(
            key=key,
            stage=stage,
            candidate=candidate,
            genotype=tuple(json.loads(genotype)),
            status=status,
            values=json.loads(values),
            details=json.loads(details),
            reason=reason,
        )
        for key, stage, candidate, genotype, status, values, details, reason in rows
    ]


def evaluations_frame(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Evaluations as a table: one row each, one column per measured value."""
    rows = []
    for e in evaluations:
        head = {"candidate": e.candidate, "stage": e.stage, "status": e.status, "reason": e.reason}
        rows.append({**head, **e.values, "genotype": " ".join(str(g) for g in e.genotype), "key": e.key})
    return pd.DataFrame(rows)
