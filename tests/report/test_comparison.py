"""Several runs on one page, and those that cannot stand there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pages import HOSTILE, render
from search_folders import write_searched_run

from qnas_ov.core.errors import QnasError
from qnas_ov.measure import RoundPlan, describe_protocol
from qnas_ov.pareto import hypervolume
from qnas_ov.pipeline import run_report
from qnas_ov.report import read_run
from qnas_ov.report._compare import compare_volumes, name_runs, shared_objectives


def test_two_runs_on_one_page(tmp_path: Path) -> None:
    machine = {"cpu": "Another CPU", "packages": {"openvino": "2026.3.0", "nncf": "3.4.0", "torch": None}}
    first = write_searched_run(tmp_path / "laptop")
    second = write_searched_run(tmp_path / "server", seed=1, machine=machine, recipe={"seed": 7})
    page = render(first, second, out=tmp_path / "both.html")
    assert "laptop and server" in page.words
    assert "The machines differ: every latency is that of its run's own machine." in page.words
    for difference in ("seed 0 7", "cpu Some CPU @ 2 GHz Another CPU", "openvino 2026.4.1 2026.3.0"):
        assert difference in page.words
    assert "population" not in page.words
    assert "accuracies do not compare" not in page.words
    assert "Of the space below the common reference point the fronts dominate:" in page.words
    for rule in ("fastest", "smallest", "most-accurate", "knee"):
        assert rule in page.words
    assert [a["download"] for a in page.of("a") if a.get("download")] == ["fronts.csv"]


def test_a_comparison_tells_how_latencies_were_measured(tmp_path: Path) -> None:
    """Once where it was the same in all runs."""
    folders = [write_searched_run(tmp_path / name, seed=i) for i, name in enumerate(("one", "two"))]
    other = write_searched_run(tmp_path / "three", seed=2, recipe={"final_rounds": 5})
    protocol = " ".join(describe_protocol(RoundPlan(), iterations=None))
    assert render(*folders, out=tmp_path / "same.html").words.count(protocol) == 1
    words = render(*folders, other, out=tmp_path / "different.html").words
    assert f"one, two {protocol}" in words
    assert f"three {' '.join(describe_protocol(RoundPlan(minimum=5), iterations=None))}" in words


def test_hypervolumes_have_one_reference(tmp_path: Path) -> None:
    """A front that another one contains dominates less; both are measured below the same point."""
    runs = [read_run(write_searched_run(tmp_path / "whole")), read_run(write_searched_run(tmp_path / "part"))]
    assert runs[1].front is not None
    front = runs[1].front.drop(index=1)
    object.__setattr__(runs[1], "front", front)
    objectives = shared_objectives(runs)
    assert [o.column for o in objectives] == ["test_accuracy_top1", "latency_ms"]
    whole, part = compare_volumes(runs, objectives)
    assert runs[0].front is not None
    x, y = runs[0].front["latency_ms"].to_numpy(), -runs[0].front["test_accuracy_top1"].to_numpy()
    scaled = ((v - v.min()) / (v.max() - v.min()) for v in (x, y))
    assert whole.share == pytest.approx(hypervolume(np.column_stack(list(scaled)), np.array([1.1, 1.1])) / 1.21)
    assert part.share <= whole.share
    assert whole.on_joint + part.on_joint <= len(runs[0].front)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"sha256": "d" * 64}}, "The networks differ (weights: one aaaaaaaa, two dddddddd)"),
        ({"data": {"sha256": {"test": "e" * 64}}}, "The test data differ (digests: one cccccccc, two eeeeeeee)"),
    ],
)
def test_accuracies_of_other_networks_or_data_do_not_compare(
    tmp_path: Path, changes: dict[str, dict[str, object]], message: str
) -> None:
    first = write_searched_run(tmp_path / "one")
    second = write_searched_run(tmp_path / "two", seed=1, **changes)
    page = render(first, second, out=tmp_path / "both.html")
    assert f"{message}: accuracies do not compare from run to run." in page.words
    assert "Not computed: accuracies do not compare." in page.words


def test_what_does_not_compare_is_refused(tmp_path: Path) -> None:
    first = write_searched_run(tmp_path / "one")
    other = write_searched_run(tmp_path / "f1", seed=1, metric="f1")
    unfinished = write_searched_run(tmp_path / "half", seed=1, finished=False)
    copy = Path(shutil.copytree(first, tmp_path / "copy"))
    for folders, message in (
        ((first, first), "needs different runs: .* are the same one"),
        ((first, tmp_path / "x" / ".." / "one"), "are the same one"),
        ((first, copy), "are the same one"),
        ((first, other), "by one metric: '.*one' has accuracy_top1, '.*f1' has f1"),
        ((first, unfinished), "only finished runs compare, and '.*half' is not finished"),
        ((first, tmp_path / "nowhere"), "is no run folder"),
        ((first,) * 9, "at most 8 runs: got 9"),
        ((), "a report needs a run"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(QnasError, match=message) as caught:
            run_report(folders, out=tmp_path / "both.html")
        assert caught.value.exit_code == 2
        assert not (tmp_path / "both.html").exists()


def test_runs_are_named_apart(tmp_path: Path) -> None:
    runs = [read_run(write_searched_run(tmp_path / place / "run", seed=i)) for i, place in enumerate(("a", "b"))]
    assert name_runs(runs) == ["a/run", "b/run"]


def test_names_are_text_here_too(tmp_path: Path) -> None:
    first = write_searched_run(tmp_path / "one", hostile=HOSTILE)
    second = write_searched_run(tmp_path / "two<script>x", seed=1)
    page = render(first, second, out=tmp_path / "both.html")
    assert len(page.of("script")) == 3
    assert "two<script>x" in page.text
