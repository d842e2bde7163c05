"""When a search ends, and that it says why."""

from __future__ import annotations

from pathlib import Path

from qnas_ov.core.records import Evaluation, metric_objective, resolve_objectives
from qnas_ov.journal import Journal
from qnas_ov.pipeline._stop import STOPPED, StopRules
from qnas_ov.recipe import build_recipe

OBJECTIVES = resolve_objectives(("accuracy", "latency"), metric=metric_objective("accuracy_top1").column)


def evaluation(number: int, accuracy: float, latency: float, seconds: float = 2.0) -> Evaluation:
    values = {"accuracy_top1": accuracy, "latency_ms": latency}
    return Evaluation(f"k{number}", "search", f"c{number}", (number,), "ok", values, {"seconds": seconds})


def rules(folder: Path, **settings: object) -> StopRules:
    recipe = build_recipe({"model": "a", **settings})
    return StopRules(recipe, OBJECTIVES, (), Journal(folder / "journal.sqlite"))


def test_it_ends_after_so_many_evaluations(tmp_path: Path) -> None:
    found = rules(tmp_path, evaluations=10, population=4)
    searched = [evaluation(i, 0.5, 1.0) for i in range(10)]
    assert found.reason(searched[:9]) is None
    assert found.reason(searched) == "10 candidates were measured"


def test_it_ends_after_so_much_measuring(tmp_path: Path) -> None:
    found = rules(tmp_path, time_limit="5s")
    searched = [evaluation(i, 0.5, 1.0) for i in range(3)]
    assert [found.out_of_time(e) for e in searched] == [False, False, True]
    assert found.reason(searched) == "the time limit of 5 s is reached: 3 candidates were measured"


def test_failures_and_what_comes_before_the_first_candidate_take_time_too(tmp_path: Path) -> None:
    found = rules(tmp_path, time_limit="5s")
    found.prepared(2.5)
    assert not found.out_of_time(evaluation(0, 0.5, 1.0))
    failed = Evaluation("f", "search", "c1", (1,), "failed", details={"seconds": 1.0}, reason="no report")
    assert found.out_of_time(failed)
    resumed = rules(tmp_path, time_limit="5s")
    resumed.prepared(0.1)  # the journal knows better
    assert [resumed.out_of_time(e) for e in (evaluation(0, 0.5, 1.0), failed)] == [False, True]


def test_an_objective_that_never_changes_does_not_end_it(tmp_path: Path) -> None:
    found = rules(tmp_path, stall=4)
    assert found.reason([evaluation(i, 0.5, 8.0 - i) for i in range(6)]) is None
    flat = [evaluation(i, 0.5, 8.0) for i in range(6)]
    assert "the hypervolume grew by less than 0.1%" in str(found.reason(flat))


def test_it_ends_where_the_front_has_not_grown(tmp_path: Path) -> None:
    found = rules(tmp_path, stall=4)
    rising = [evaluation(i, 0.5 + 0.01 * i, 1.0 + i) for i in range(8)]
    assert found.reason(rising) is None
    flat = [*rising, *(evaluation(i, 0.4, 20.0) for i in range(8, 12))]
    assert found.reason(flat[:11]) is None
    assert found.reason(flat) == "the hypervolume grew by less than 0.1% over the last 4 of 12 candidates"


def test_the_journal_keeps_why(tmp_path: Path) -> None:
    rules(tmp_path).record("all is measured")
    assert Journal(tmp_path / "journal.sqlite").meta(STOPPED) == "all is measured"
