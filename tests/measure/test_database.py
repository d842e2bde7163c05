"""What the database answers, what it refuses, and that it survives kills and neighbours (real processes)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qnas_ov.core.errors import InputError
from qnas_ov.measure import (
    REPORT,
    SEARCH,
    Conditions,
    KeptRun,
    LatencyDatabase,
    LatencyRun,
    RunKey,
    RunSettings,
    closing_database,
    default_database,
)

SETTINGS = RunSettings(device="CPU", shapes={"x": (1, 8)}, inference_precision="f32")
KEY = RunKey("network", SETTINGS, "machine", "reference")
CALM = Conditions(others=0.01, stolen=None, throttled_ms=None, thermal_events=None, mhz=2700.0, load_1min=0.5)


def kept(latency_ms: float = 1.25) -> KeptRun:
    run = LatencyRun(
        percentile=50, latency_ms=latency_ms, resolution_ms=5e-6, source="console", average_ms=1.3, minimum_ms=1.0,
        maximum_ms=2.0, iterations=100, requests=1, total_ms=130.0, throughput_per_s=770.0, compile_ms=50.0,
        first_inference_ms=3.0, memory_bytes=60_000_000, streams=1, threads=2,
    )  # fmt: skip
    return KeptRun(run, 1.0, 1.1, CALM)


def add(database: LatencyDatabase, key: RunKey = KEY, latency_ms: float = 1.25, purpose: str = SEARCH) -> None:
    database.add_machine(key.machine, {"cpu": "a CPU"})
    database.add(key, kept(latency_ms), purpose=purpose, iterations=100, versions={"openvino": "2026.4"})


def find(
    database: LatencyDatabase, key: RunKey = KEY, *, purpose: str = SEARCH, iterations: int = 100, position: int = 0,
    percentile: int = 50,
) -> float | None:  # fmt: skip
    found = database.find(
        key, purpose=purpose, percentile=percentile, iterations=iterations, reading_ms=1.0, position=position
    )
    return None if found is None else found.run.latency_ms


@pytest.fixture
def database(tmp_path: Path) -> LatencyDatabase:
    return LatencyDatabase(tmp_path / "sub" / "latency.sqlite")


def test_what_is_kept_comes_back_whole(database: LatencyDatabase) -> None:
    add(database)
    found = database.find(KEY, purpose=SEARCH, percentile=50, iterations=100, reading_ms=1.0)
    assert found is not None
    assert found.measured_at.endswith("Z")
    assert replace(found, measured_at="") == kept()
    assert database.machine("machine") == {"cpu": "a CPU"}
    assert database.machine("other") is None


@pytest.mark.parametrize(
    "key",
    [
        replace(KEY, network="other"),
        replace(KEY, machine="other"),
        replace(KEY, reference="other"),
        replace(KEY, settings=replace(SETTINGS, hint="throughput")),
        replace(KEY, settings=replace(SETTINGS, threads=1)),
        replace(KEY, settings=replace(SETTINGS, shapes={"x": (2, 8)}, batch=2)),
        replace(KEY, settings=replace(SETTINGS, inference_precision="bf16")),
    ],
)
def test_another_network_machine_reference_or_setting_is_another_measurement(
    database: LatencyDatabase, key: RunKey
) -> None:
    add(database)
    assert find(database) == 1.25
    assert find(database, key) is None


def test_the_order_of_inputs_does_not_matter(database: LatencyDatabase) -> None:
    first, second = ({n: (1, n == "a") for n in names} for names in ("ab", "ba"))
    add(database, replace(KEY, settings=replace(SETTINGS, shapes=first)))
    assert find(database, replace(KEY, settings=replace(SETTINGS, shapes=second))) == 1.25


def test_a_figure_that_chose_a_network_does_not_judge_it(database: LatencyDatabase) -> None:
    add(database, latency_ms=1.0, purpose=SEARCH)
    assert find(database, purpose=REPORT) is None
    add(database, latency_ms=2.0, purpose=REPORT)
    add(database, latency_ms=3.0, purpose=REPORT)
    assert [find(database, purpose=REPORT, position=p) for p in range(3)] == [2.0, 3.0, None]
    assert find(database, purpose=SEARCH) == 1.0


def test_too_few_iterations_and_other_percentiles_do_not_count(database: LatencyDatabase) -> None:
    add(database)
    assert find(database, iterations=200) == 1.25
    assert find(database, iterations=201) is None
    assert find(database, percentile=90) is None


def test_a_slow_machine_needs_fewer_iterations(database: LatencyDatabase) -> None:
    add(database)  # with the reference at 1.0 ms
    found = database.find(KEY, purpose=SEARCH, percentile=50, iterations=500, reading_ms=0.3)
    assert found is not None


def test_profiles_are_kept(database: LatencyDatabase) -> None:
    add(database)
    assert database.profile(KEY) is None
    database.add_profile(KEY, {"total_ms": 1.0})
    database.add_profile(KEY, {"total_ms": 2.0})
    assert database.profile(KEY) == {"total_ms": 2.0}


def test_zero_is_refused_at_the_door(database: LatencyDatabase) -> None:
    with pytest.raises(Exception, match="cannot be written"):
        database.add(KEY, replace(kept(), gauge_before_ms=0.0), purpose=SEARCH, iterations=1, versions={})
    assert database.count() == 0


@pytest.mark.parametrize("content", [b"this is no database at all, not in the least" * 20, b"SQLite format 3\0 cut"])
def test_a_damaged_file_is_named_and_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "latency.sqlite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"the latency database .* cannot be used .*choose another --latency-db"):
        LatencyDatabase(path)
    assert path.read_bytes() == content


def test_another_database_is_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE meta (name TEXT)")
    with pytest.raises(InputError, match="it has format 0, this version reads 1"):
        LatencyDatabase(path)


def test_the_choice_of_the_command_line(tmp_path: Path, session_cache: Path) -> None:
    assert default_database().is_relative_to(session_cache), "the suite must not use the user's database"
    with closing_database("none") as nothing:
        assert nothing is None
    with closing_database(str(tmp_path / "mine.sqlite")) as mine:
        assert mine is not None
    assert (tmp_path / "mine.sqlite").exists()
    with pytest.raises(InputError, match="cannot be used"), closing_database(str(tmp_path)):
        pass


# --- kills and neighbours --------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_database import KEY, LatencyDatabase, add, find
from dataclasses import replace
database = LatencyDatabase(Path({path!r}))
for number in range({count}):
    key = replace(KEY, network=f"{name}-{{number}}")
    with database.claim():
        add(database, key)
    print(number, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    program = WRITER.format(tests=str(Path(__file__).parent), path=str(path), count=count, name=name)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_a_kill_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "latency.sqlite"
    process = writer(path, "killed", 1_000_000)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(20)][-1]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    told = max(told, *(int(n) for n in rest[:-1]), told)  # the last line may be cut
    database = LatencyDatabase(path)
    assert find(database, replace(KEY, network=f"killed-{told}")) == 1.25
    assert database._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    with database.claim():  # the dead process holds nothing
        add(database, replace(KEY, network="after"))
    assert database.count() >= told + 2


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "latency.sqlite"
    both = [writer(path, name, 60) for name in ("one", "two")]
    assert [p.communicate(timeout=60)[0].split()[-1] for p in both] == ["59", "59"]
    assert [p.returncode for p in both] == [0, 0]
    database = LatencyDatabase(path)
    assert database.count() == 120
    assert all(find(database, replace(KEY, network=f"{n}-{i}")) for n in ("one", "two") for i in range(60))


def test_only_one_process_measures_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "latency.sqlite"
    database = LatencyDatabase(path)
    with database.claim():
        process = writer(path, "waiting", 1)
        time.sleep(2.0)
        assert database.count() == 0
        assert process.poll() is None
    assert process.communicate(timeout=30)[0].split() == ["0"]
    assert database.count() == 1


def test_two_processes_measure_equal_graphs_once(tmp_path: Path) -> None:
    """With the real benchmark_app: the second waits for the first, and then takes its figure."""
    program = f"""
import sys
from pathlib import Path
from qnas_ov.measure import *
settings = RunSettings(device="CPU", shapes={{"x": (1, 8)}}, inference_precision="f32")
meter = LatencyMeter(Path({str(tmp_path / "a.xml")!r}), settings, seconds=0.02,
                     database=LatencyDatabase(Path({str(tmp_path / "latency.sqlite")!r})))
print(meter.measure(Path({str(tmp_path / "b.xml")!r}), settings).run.latency_ms)
"""
    import openvino as ov
    from run_folders import classifier

    for seed, name in enumerate(("a.xml", "b.xml")):
        ov.save_model(classifier(seed), tmp_path / name, compress_to_fp16=False)
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    figures = [p.communicate(timeout=120)[0] for p in both]
    assert figures[0] == figures[1] != ""
    assert LatencyDatabase(tmp_path / "latency.sqlite").count() == 1
