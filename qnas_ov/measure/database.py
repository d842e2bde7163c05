"""Measurements of this machine, kept in SQLite, so that equal graphs are not measured twice, in one run or in several.

What is kept is one benchmark_app process with the readings of the reference network around it: the raw figures, never a
scaled one. It counts again for the same graph (`digest_graph`), settings, machine (`machine_digest`, which holds
OpenVINO's version), reference network and percentile, and if it had at least half as many iterations as asked for, or
half of what they last at the machine's speed: a slow machine is asked for fewer.

A kept latency is of another time, at another speed of the machine. It counts as `latency * anchor / gauge`, as a new
one does: `gauge` is what the same reference took then, `anchor` what it takes at the speed that the caller's latencies
stand for. Measurements beside another reference are therefore never mixed in, and nothing is taken where the reference
could not be read now. A figure that chose a network may not judge it too: runs made to report (`REPORT`) are only
answered by runs made to report, and each at most once; a search takes either.

Two processes may use one database. Only one measures at a time, since two would disturb each other.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from qnas_ov.core.errors import InputError, RunFolderError
from qnas_ov.core.fingerprint import canonical_json, digest_json
from qnas_ov.measure.benchmark_app import LatencyRun
from qnas_ov.measure.conditions import Conditions
from qnas_ov.measure.settings import RunSettings

SEARCH, REPORT = "search", "report"
FORMAT = 1
_WAIT_S = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS machines (digest TEXT PRIMARY KEY, facts TEXT NOT NULL, first_seen TEXT NOT NULL
    DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')));
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY,
    network TEXT NOT NULL,
    settings TEXT NOT NULL,
    machine TEXT NOT NULL REFERENCES machines (digest),
    reference TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('search', 'report')),
    percentile INTEGER NOT NULL,
    iterations INTEGER NOT NULL,
    run TEXT NOT NULL,
    gauge_before_ms REAL NOT NULL CHECK (gauge_before_ms > 0),
    gauge_after_ms REAL NOT NULL CHECK (gauge_after_ms > 0),
    conditions TEXT NOT NULL,
    versions TEXT NOT NULL,
    measured_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);
CREATE INDEX IF NOT EXISTS runs_by_key ON runs (network, settings, machine, reference, percentile);
CREATE TABLE IF NOT EXISTS profiles (
    network TEXT NOT NULL, settings TEXT NOT NULL, machine TEXT NOT NULL REFERENCES machines (digest),
    profile TEXT NOT NULL, measured_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    PRIMARY KEY (network, settings, machine)
);
"""


@dataclass(frozen=True)
class RunKey:
    """What a measurement is of.

    Attributes:
        network: Digest of the graph.
        settings: How it is run.
        machine: Digest of the machine.
        reference: Digest of the reference network and how it is run.
    """

    network: str
    settings: RunSettings
    machine: str
    reference: str


@dataclass(frozen=True)
class KeptRun:
    """One benchmark_app process as the database keeps it.

    Attributes:
        run: What it reported.
        gauge_before_ms: Latency of the reference before it.
        gauge_after_ms: Latency of the reference after it.
        conditions: The machine meanwhile.
        measured_at: When, in UTC; empty for a run that is yet to be kept.
    """

    run: LatencyRun
    gauge_before_ms: float
    gauge_after_ms: float
    conditions: Conditions
    measured_at: str = ""


class LatencyDatabase:
    """The measurements of this machine."""

    def __init__(self, path: Path) -> None:
        """Opens the database, creating it if it is not there.

        Raises:
            InputError: If the file cannot be opened, is no such database, or is of another format.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._prepare()
            self._lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"the latency database '{path}' cannot be used ({error}): move it away, or choose another "
                "--latency-db, or none"
            ) from error

    def _prepare(self) -> None:
        with self._writing():
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0 and not self._connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in filter(str.strip, _SCHEMA.split(";\n")):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")
            elif found != FORMAT:
                raise sqlite3.DatabaseError(f"it has format {found}, this version reads {FORMAT}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that waits for its turn before it reads."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
        os.close(self._lock)

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Waits until no other process measures with this database; a process that ends, however, lets go."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def add_machine(self, digest: str, facts: Mapping[str, Any]) -> None:
        """Notes what a digest of a machine stands for."""
        self._write("INSERT OR IGNORE INTO machines (digest, facts) VALUES (?, ?)", (digest, canonical_json(facts)))

    def machine(self, digest: str) -> dict[str, Any] | None:
        """The machine of that digest."""
        row = self._connection.execute("SELECT facts FROM machines WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else json.loads(row[0])

    def add(self, key: RunKey, kept: KeptRun, *, purpose: str, iterations: int, versions: Mapping[str, Any]) -> None:
        """Keeps a run; it is on the disk when this returns.

        Args:
            key: What was measured.
            kept: What came out.
            purpose: `SEARCH` or `REPORT`.
            iterations: How many were asked for.
            versions: Versions of the packages.
        """
        row = (
            key.network, digest_settings(key.settings), key.machine, key.reference, purpose, kept.run.percentile,
            iterations, canonical_json(kept.run.to_json()), kept.gauge_before_ms, kept.gauge_after_ms,
            canonical_json(kept.conditions.to_json()), canonical_json(dict(versions)),
        )  # fmt: skip
        names = (
            "network, settings, machine, reference, purpose, percentile, iterations, run, gauge_before_ms, "
            "gauge_after_ms, conditions, versions"
        )
        self._write(f"INSERT INTO runs ({names}) VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

    def find(
        self, key: RunKey, *, purpose: str, percentile: int, iterations: int, reading_ms: float, position: int = 0
    ) -> KeptRun | None:
        """A kept run that answers a request, see the top of this file.

        Args:
            key: What is to be measured.
            purpose: What for.
            percentile: Which percentile.
            iterations: How many are wanted.
            reading_ms: Latency of the reference now.
            position: Which of several requests for the same key this is, from 0: each gets another run.
        """
        purposes = (REPORT, REPORT) if purpose == REPORT else (SEARCH, REPORT)
        row = self._connection.execute(
            "SELECT run, gauge_before_ms, gauge_after_ms, conditions, measured_at FROM runs WHERE network = ? AND "
            "settings = ? AND machine = ? AND reference = ? AND percentile = ? AND purpose IN (?, ?) AND "
            "(2 * iterations >= ? OR 2 * iterations * gauge_before_ms >= ?) ORDER BY id LIMIT 1 OFFSET ?",
            (key.network, digest_settings(key.settings), key.machine, key.reference, percentile, *purposes,
             iterations, iterations * reading_ms, position),
        ).fetchone()  # fmt: skip
        if row is None:
            return None
        return KeptRun(LatencyRun(**json.loads(row[0])), row[1], row[2], Conditions(**json.loads(row[3])), row[4])

    def count(self) -> int:
        """How many runs are kept."""
        return int(self._connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0])

    def add_profile(self, key: RunKey, profile: Mapping[str, Any]) -> None:
        """Keeps where the time of a network goes."""
        self._write(
            "INSERT OR REPLACE INTO profiles (network, settings, machine, profile) VALUES (?, ?, ?, ?)",
            (key.network, digest_settings(key.settings), key.machine, canonical_json(dict(profile))),
        )

    def profile(self, key: RunKey) -> dict[str, Any] | None:
        """Where the time of a network goes, if that was measured."""
        row = self._connection.execute(
            "SELECT profile FROM profiles WHERE network = ? AND settings = ? AND machine = ?",
            (key.network, digest_settings(key.settings), key.machine),
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            with self._writing():
                self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise RunFolderError(
                f"the latency database {self.path} cannot be written ({error}): free some disk space, or choose "
                "another --latency-db, perhaps none"
            ) from error


def digest_settings(settings: RunSettings) -> str:
    """The key of settings."""
    return digest_json(settings.to_json())


def default_database() -> Path:
    """The database of this machine's user."""
    return Path(platformdirs.user_cache_dir("qnas-ov")) / "latency.sqlite"


@contextmanager
def closing_database(choice: str | None) -> Iterator[LatencyDatabase | None]:
    """The database of `--latency-db`: the user's own for None, no database for "none", else the one of that path.

    Raises:
        InputError: If it cannot be used.
    """
    if choice == "none":
        yield None
        return
    database = LatencyDatabase(default_database() if choice is None else Path(choice))
    try:
        yield database
    finally:
        database.close()
