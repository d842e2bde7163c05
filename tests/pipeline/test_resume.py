"""Runs that are killed or interrupted continue, and nothing is measured twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from networks import outlier_network, save_samples

SETTINGS = {
    "precisions": ["int8", "w8", "float"], "evaluations": 10, "population": 4, "inner_evaluations": 200,
    "front_size": 2, "latency_seconds": 0.05, "final_rounds": 2,
}  # fmt: skip


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    recipe = ["--recipe", str(out.parent / "recipe.yaml")]
    command = [sys.executable, "-m", "qnas_ov.cli", "search", *recipe, "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def rows(out: Path, stage: str) -> list[tuple[str, str]]:
    try:
        with sqlite3.connect(f"file:{out / 'evaluations.sqlite'}?mode=ro", uri=True) as connection:
            return connection.execute(
                "SELECT key, evaluated FROM evaluations WHERE stage = ? ORDER BY id", (stage,)
            ).fetchall()
    except sqlite3.OperationalError:
        return []


def wait_for(process: subprocess.Popen[str], out: Path, stage: str, count: int) -> None:
    for _ in range(1200):
        if len(rows(out, stage)) >= count:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    pytest.fail(f"no {count} rows of stage {stage} within two minutes")


def test_kill_and_resume_then_interrupt_and_resume(tmp_path: Path) -> None:
    network = outlier_network(tmp_path / "model.xml")
    data = save_samples(tmp_path / "samples.npz")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"model": str(network), "data": str(data), **SETTINGS}))
    out = tmp_path / "run"
    first = start(out)
    wait_for(first, out, "search", 5)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = rows(out, "baseline") + rows(out, "search")
    assert not (out / "pareto.csv").exists()

    second = start(out, "--resume")
    wait_for(second, out, "final-latency", 3)
    second.send_signal(signal.SIGINT)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 130
    assert f"continue with `qnas-ov search --resume --out {out}`" in errors
    assert "Traceback" not in errors
    later = rows(out, "baseline") + rows(out, "search")
    assert set(before) <= set(later), "what was measured before the kill was measured again"
    timed = rows(out, "final-latency")

    third = start(out, "--resume")
    output, errors = third.communicate(timeout=240)
    assert third.returncode == 0, errors
    assert "measurements were taken from the journal" in errors
    assert set(timed) <= set(rows(out, "final-latency"))
    assert len(rows(out, "search")) == SETTINGS["evaluations"]
    table = pd.read_csv(out / "evaluations.csv")
    assert not table["key"].duplicated().any()
    assert not table[table["stage"] == "search"]["genotype"].duplicated().any()
    assert "Pareto front, verified on test data" in output
