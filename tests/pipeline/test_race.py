"""Few samples first, and all of them for candidates that may still reach the front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from qnas_ov.algorithms import Constraint
from qnas_ov.core.errors import MeasurementError
from qnas_ov.core.progress import Silent
from qnas_ov.core.records import Evaluation, resolve_objectives
from qnas_ov.journal import read_journal
from qnas_ov.pipeline import SearchResult
from qnas_ov.pipeline._race import Race
from qnas_ov.pipeline._scorer import Scorer, Scores
from qnas_ov.pipeline._setup import prepare_network, resolve
from qnas_ov.tasks.metrics import TOP1

METRIC = TOP1.column
BOTH = resolve_objectives(("accuracy", "latency"), metric=METRIC)


def evaluation(accuracy: float, latency: float, name: str = "c001") -> Evaluation:
    values = {METRIC: accuracy, "latency_ms": latency, "output_error": 0.1}
    return Evaluation(name, "search", name, (0,), "ok", values)


def scores(right: int, wrong: int, *, error: float = 0.1) -> Scores:
    hits = np.array([1.0] * right + [0.0] * wrong)
    errors = np.full(len(hits), error) + np.linspace(-0.01, 0.01, len(hits))
    return Scores(float(hits.mean()), errors, lambda: hits, len(hits), lambda: None)


def race(*known: Evaluation, limits: tuple[Constraint, ...] = (), names: tuple[str, ...] = ()) -> Race:
    found = Race(resolve_objectives(names, metric=METRIC) if names else BOTH, limits, TOP1)
    for one in known:
        found.add(one)
    return found


def test_what_is_surely_worse_and_slower_is_out() -> None:
    known = race(evaluation(0.7, 1.0, "c001"), evaluation(0.95, 2.0, "c002"))
    assert known.beaten_by(scores(20, 80), {"latency_ms": 1.5}) == "c001"
    assert known.beaten_by(scores(80, 20), {"latency_ms": 2.5}) == "c002"


@pytest.mark.parametrize(
    ("right", "latency"),
    [(94, 2.5), (20, 0.9), (100, 9.0)],
    ids=["within the interval", "the fastest", "perhaps the best"],
)
def test_what_may_reach_the_front_is_judged_on(right: int, latency: float) -> None:
    known = race(evaluation(0.7, 1.0), evaluation(0.95, 2.0))
    assert known.beaten_by(scores(right, 100 - right), {"latency_ms": latency}) is None


def test_nothing_is_out_as_long_as_nothing_is_known() -> None:
    failed = Evaluation("k", "search", "c001", (0,), "failed", reason="it burned")
    assert race(failed).beaten_by(scores(0, 100), {"latency_ms": 9.0}) is None


def test_limits_count_for_both() -> None:
    limit = Constraint("--max-drop", METRIC, 0.9, at_least=True)
    beyond = race(evaluation(0.7, 1.0), limits=(limit,))
    assert beyond.beaten_by(scores(60, 40), {"latency_ms": 2.0}) == "--max-drop"
    assert beyond.beaten_by(scores(88, 12), {"latency_ms": 2.0}) is None, "what breaks a limit beats nothing"


def test_the_distance_to_the_float_network_has_an_interval_too() -> None:
    known = race(evaluation(0.9, 1.0), names=("error", "latency"))
    assert known.beaten_by(scores(1, 1, error=0.2), {"latency_ms": 2.0}) is None, "two samples tell little"
    assert known.beaten_by(scores(50, 50, error=0.2), {"latency_ms": 2.0}) == "c001"
    assert known.beaten_by(scores(50, 50, error=0.0), {"latency_ms": 2.0}) is None


def test_intervals_are_made_only_where_they_decide() -> None:
    """A user's metric may take its time for one."""
    known = race(evaluation(0.7, 1.0))

    def never() -> np.ndarray:
        raise AssertionError("the interval is not needed")

    assert known.beaten_by(Scores(0.9, np.full(10, 0.1), never, 10, lambda: None), {"latency_ms": 2.0}) is None


@pytest.mark.parametrize("settings", [{}, {"metric": "f1-macro"}], ids=["accuracy", "f1"])
def test_parts_judged_together_are_the_whole(tiny_model: str, settings: Mapping[str, str]) -> None:
    setup = resolve({"model": tiny_model, **settings})
    network = prepare_network(setup, Silent())
    scorer, split = Scorer(setup, network), setup.task.validation
    asked: list[int] = []

    def promising(found: Scores) -> bool:
        asked.append(found.num_samples)
        return len(asked) < 2

    (whole,) = scorer.score(network.bank.int8, [split], "f32")
    parts = split.parted(50)
    together = scorer.score_while(network.bank.int8, parts, "f32", promising)
    assert together.value == pytest.approx(whole.value)
    assert together.error.mean() == pytest.approx(whole.error.mean())
    assert sorted(together.error) == pytest.approx(sorted(whole.error), abs=1e-5)
    first = scorer.score_while(network.bank.int8, parts, "f32", promising)
    assert asked == [50, 50]
    assert (together.num_samples, first.num_samples) == (split.num_samples, 50)


def test_a_metric_that_a_part_does_not_allow_takes_the_whole(tiny_model: str) -> None:
    setup = resolve({"model": tiny_model})
    network = prepare_network(setup, Silent())

    def at_least_100(outputs: np.ndarray, labels: np.ndarray) -> float:
        return float((outputs.argmax(axis=-1) == labels).mean()) if len(labels) >= 100 else float("nan")

    metric = replace(TOP1, compute=at_least_100, per_sample=False)
    scorer = Scorer(replace(setup, task=replace(setup.task, metric=metric)), network)
    split = setup.task.validation
    found = scorer.score_while(network.bank.int8, split.parted(50), "f32", lambda scores: False)
    assert found.num_samples == split.num_samples
    with pytest.raises(MeasurementError, match="must give a finite number"):
        scorer.score(network.bank.int8, [split.thinned(50)], "f32")


def test_a_search_judges_some_on_a_part_and_no_network_of_the_front(finished_run: SearchResult) -> None:
    found = read_journal(finished_run.folder / "evaluations.sqlite").evaluations
    searched = {e.candidate: e.details for e in found if e.stage == "search" and e.ok}
    (whole,) = {e.details["num_samples"] for e in found if e.stage == "baseline"}
    beaten = {name for name, details in searched.items() if details.get("beaten_by")}
    assert beaten
    for name, details in searched.items():
        assert details["num_samples"] == (128 if name in beaten else whole)
    assert not beaten & set(finished_run.front["candidate"])
