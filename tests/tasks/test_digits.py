from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from qnas_ov.tasks import Task, top1, wilson_interval
from qnas_ov.tasks.digits import split_names

SPLITS = ("train", "calibration", "validation", "test")


def test_splits_are_disjoint_and_complete(digits: Task) -> None:
    names = split_names(load_digits().target)
    assert {n: int((names == n).sum()) for n in SPLITS} == {n: len(getattr(digits, n)) for n in SPLITS}
    assert sum(len(getattr(digits, n)) for n in SPLITS) == 1797


def test_no_image_stands_in_two_splits(digits: Task) -> None:
    images = [{x.tobytes() for x in getattr(digits, n).inputs["pixel_values"]} for n in SPLITS]
    for i in range(4):
        for j in range(i):
            assert not images[i] & images[j]


def test_splits_are_stratified_and_fixed(digits: Task) -> None:
    for name in SPLITS:
        counts = np.bincount(getattr(digits, name).labels, minlength=10)
        assert counts.max() - counts.min() <= 6
    assert digits.test.digest() == "86a48c495106f9143c52dd5316d5caca3bad5c74cd10a16d9236f045db5336c5"


def test_metric_and_interval() -> None:
    assert top1(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1])).tolist() == [1.0, 0.0]
    interval = wilson_interval(95, 100)
    assert interval.value == 0.95
    assert (interval.low, interval.high) == (pytest.approx(0.8882, abs=1e-4), pytest.approx(0.9785, abs=1e-4))
    assert wilson_interval(100, 100).high == 1.0
