from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qnas_ov.measure import Conditions
from qnas_ov.measure import conditions as module

CALM = {"others": 0.0, "stolen": 0.0, "throttled_ms": 0.0, "thermal_events": 0, "mhz": 2700.0, "load_1min": 0.1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"others": 0.30}, "other processes took 30% of the CPUs"),
        ({"stolen": 0.10}, "the hypervisor took 10% of the CPUs"),
        ({"throttled_ms": 40.0}, "the cgroup's CPU quota stopped the processes for 40 ms"),
        ({"thermal_events": 2}, "cores slowed down 2 times because they were hot"),
        ({"mhz": 2000.0}, "the cores ran at 2000 MHz instead of 2700"),
    ],
)
def test_every_disturbance_is_told(change: dict[str, float], told: str) -> None:
    assert Conditions(**CALM).disturbances(2700.0) == []
    assert Conditions(**{**CALM, **change}).disturbances(2700.0) == [told]


def test_what_the_system_does_not_tell_is_no_disturbance() -> None:
    unknown = dict.fromkeys(CALM) | {"load_1min": 0.0}
    assert Conditions(**unknown).disturbances(None) == []


def test_our_own_work_is_not_that_of_others() -> None:
    """A child of ours that ends within the watch counts as ours."""
    watch = module.Watch()
    subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"], check=True)
    found = watch.read(None)
    busy = module._Counters.now()
    assert busy.busy_s is not None
    assert found.others is not None
    assert 0.0 <= found.others <= 1.0
    assert busy.own_s - watch._start.own_s > 0.1


def test_counters_become_shares() -> None:
    cpus = len(module.os.sched_getaffinity(0))
    start = module._Counters(0.0, 100.0, 5.0, 10.0, 7.0, 1)
    end = module._Counters(10.0, 100.0 + 6.0 * cpus, 5.0 + cpus, 10.0 + 4.0 * cpus, 9.5, 3)
    found = start.until(end, 2600.0)
    assert (found.others, found.stolen) == (pytest.approx(0.2), pytest.approx(0.1))
    assert (found.throttled_ms, found.thermal_events, found.mhz) == (2.5, 2, 2600.0)


def test_stat_of_the_system_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "cpu  999 9 9 9 9 9 9 9 0 0\ncpu0 100 10 20 500 7 3 2 40 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nintr 5\n"
    monkeypatch.setattr(module.Path, "read_text", lambda self: text)
    busy, stolen = module._cpu_times([0])
    assert (busy, stolen) == (pytest.approx(135 * module._TICK_S), pytest.approx(40 * module._TICK_S))


def test_the_real_system_is_read() -> None:
    if Path("/proc/stat").exists():
        busy, stolen = module._cpu_times(sorted(module.os.sched_getaffinity(0)))
        assert busy is not None
        assert busy > 0
        assert stolen is not None


def test_quotas_of_cgroups_around_ours_stop_us_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, middle = tmp_path / "pod" / "us", tmp_path / "pod"
    inner.mkdir(parents=True)
    monkeypatch.setattr(module, "cgroup_folders", lambda: [inner, middle, tmp_path])
    (tmp_path / "cpu.stat").write_text("usage_usec 9\n")  # the root has no quota
    assert module._throttled_ms() is None
    (inner / "cpu.stat").write_text("usage_usec 5\nnr_throttled 0\nthrottled_usec 0\n")
    assert module._throttled_ms() == 0.0
    (middle / "cpu.stat").write_text("usage_usec 5\nnr_throttled 3\nthrottled_usec 1500\n")
    assert module._throttled_ms() == 1.5
    (inner / "cpu.stat").write_text("usage_usec 5\nnr_throttled 1\nthrottled_usec 250\n")
    assert module._throttled_ms() == 1.75
