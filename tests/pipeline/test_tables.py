from __future__ import annotations

import numpy as np
import pytest

from qnas_ov.algorithms import Constraint
from qnas_ov.core.records import Evaluation
from qnas_ov.pipeline._tables import binding_message, rounds_tie
from qnas_ov.tasks.intervals import paired_p_value

FAST = Constraint("--max-latency-ms", "latency_ms", 1.0, at_least=False)
GOOD = Constraint("--max-drop", "accuracy_top1", 0.9, at_least=True)
SMALL = Constraint("--max-size-mb", "size_bytes", 50.0, at_least=False)


def measured(*rows: tuple[float, float, float]) -> list[Evaluation]:
    names = ("accuracy_top1", "latency_ms", "size_bytes")
    return [
        Evaluation(str(i), "search", f"c{i}", (i,), "ok", dict(zip(names, r, strict=True))) for i, r in enumerate(rows)
    ]


def test_the_first_constraint_that_binds_is_named() -> None:
    both = binding_message(measured((0.95, 2.0, 10), (0.80, 0.5, 10)), (GOOD, FAST, SMALL))
    assert "--max-latency-ms (latency_ms <= 1) where --max-drop (accuracy_top1 >= 0.9) hold" in both
    assert "the best latency_ms of 1 measured candidates is 2" in both
    alone = binding_message(measured((0.85, 2.0, 10), (0.80, 0.5, 10)), (GOOD, FAST))
    assert "no candidate meets --max-drop (accuracy_top1 >= 0.9): the best accuracy_top1 of 2" in alone
    assert "is 0.85" in alone


def test_a_tie_is_what_chance_makes_of_equal_networks() -> None:
    """Medians of three rounds of equal networks differ by more than the tie in about 5% of cases."""
    rng = np.random.default_rng(0)
    rounds = 1.0 + 0.02 * rng.standard_normal((400, 3))
    tie = rounds_tie(rounds.tolist())
    medians = np.median(rounds, axis=1)
    beyond = np.mean(np.abs(medians[:200] - medians[200:]) > tie)
    assert 0.01 < beyond < 0.12
    assert rounds_tie([[1.0], [2.0]]) == 0.0


def test_one_slow_round_is_not_the_noise_of_all() -> None:
    calm = [[1.0, 1.01, 0.99]] * 9
    assert rounds_tie([*calm, [1.0, 3.0, 1.0]]) == pytest.approx(rounds_tie(calm))


def test_the_paired_test() -> None:
    a, b = np.ones(100), np.ones(100)
    assert paired_p_value(a, b, binary=True) == 1.0
    b[:12] = 0.0
    assert paired_p_value(a, b, binary=True) == pytest.approx(2 * 0.5**12)
    rng = np.random.default_rng(0)
    scores = rng.random(50)
    assert paired_p_value(scores, scores - 0.01 * rng.random(50), binary=False) < 1e-6
    assert paired_p_value(scores, scores + 0.01 * rng.standard_normal(50), binary=False) > 0.01
