from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef, top_k_accuracy_score

from qnas_ov.core.errors import InputError, MeasurementError, UnknownNameError
from qnas_ov.tasks import METRICS, Metric, Situation, choose_metric, metric_of_column, own_metric
from qnas_ov.tasks.intervals import RESAMPLES, bootstrap, bootstrap_interval, bootstrap_p_value
from qnas_ov.tasks.metrics import AGREEMENT, F1, F1_MACRO, MATTHEWS, SPEARMAN, SPEARMAN_COSINE, TOP1, TOP5


def classified(
    count: int = 80, num_classes: int = 3, *, right: float = 0.8, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of classes, and labels that most of them agree with."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(count, num_classes)).astype(np.float32)
    labels = np.where(rng.random(count) < right, outputs.argmax(1), rng.integers(0, num_classes, count))
    return outputs, labels


def embedded(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of embeddings, the nearer the higher their score, each score twice."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    first = rng.normal(size=(count, 8))
    second = scores[:, None] * first + (1 - scores[:, None]) * rng.normal(size=(count, 8))
    return np.stack([first, second], axis=1).reshape(2 * count, 8).astype(np.float32), np.repeat(scores, 2)


def test_formulas_are_those_of_scikit_learn_and_scipy() -> None:
    outputs, labels = classified()
    predicted = outputs.argmax(1)
    assert F1_MACRO.value(outputs, labels) == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert MATTHEWS.value(outputs, labels) == pytest.approx(matthews_corrcoef(labels, predicted))
    many, numbers = classified(num_classes=9, right=0.3)
    assert TOP5.value(many, numbers) == pytest.approx(top_k_accuracy_score(numbers, many, k=5, labels=np.arange(9)))
    two, binary = classified(num_classes=2)
    assert F1.value(two, binary) == pytest.approx(f1_score(binary, two.argmax(1)))
    pairs, scores = embedded()
    a, b = pairs[0::2], pairs[1::2]
    cosines = np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert SPEARMAN_COSINE.value(pairs, scores) == pytest.approx(spearmanr(cosines, scores[::2]).statistic)
    assert SPEARMAN_COSINE.value(pairs, scores) > 0.8
    single = np.arange(5.0)[:, None]
    assert SPEARMAN.value(single, np.arange(5.0) ** 3) == pytest.approx(1.0)
    assert SPEARMAN.value(np.ones((5, 1)), np.arange(5.0)) == 0.0


def test_label_free_metrics_are_1_for_equal_outputs() -> None:
    outputs, _ = classified()
    for name in ("agreement", "cosine", "fidelity"):
        metric = METRICS.get(name)
        assert metric.value(outputs, outputs) == pytest.approx(1.0)
        assert metric.value(outputs[::-1], outputs) < 0.7


@pytest.mark.parametrize("metric", [TOP1, F1_MACRO, MATTHEWS, SPEARMAN_COSINE], ids=lambda m: m.column)
def test_intervals_hold_what_the_whole_population_gives(metric: Metric) -> None:
    make = embedded if metric is SPEARMAN_COSINE else classified
    truth = metric.value(*make(20_000, seed=100))
    hits, draws = 0, 8
    for seed in range(draws):
        outputs, target = make(80, seed=seed)
        value, evidence = metric.value(outputs, target), metric.evidence(outputs, target)
        interval = metric.interval(value, evidence)
        assert interval.low <= interval.value == value <= interval.high
        assert 0.02 < interval.high - interval.low < 0.5
        hits += interval.low <= truth <= interval.high
    assert hits >= draws - 2


@pytest.mark.parametrize("metric", [TOP1, F1_MACRO, MATTHEWS], ids=lambda m: m.column)
def test_the_paired_test_tells_a_worse_network(metric: Metric) -> None:
    outputs, labels = classified(200, right=0.9)
    rng = np.random.default_rng(3)
    worse, noisy = outputs.copy(), outputs.copy()
    worse[rng.permutation(200)[:40]] *= -1
    noisy[0] *= -1
    base = metric.evidence(outputs, labels)
    assert metric.p_value(base, base) == 1.0
    assert metric.p_value(metric.evidence(worse, labels), base) < 0.01
    assert metric.p_value(metric.evidence(noisy, labels), base) > 0.1
    assert metric.p_value(base, metric.evidence(worse, labels)) < 0.01


@pytest.mark.parametrize("metric", [F1, F1_MACRO, MATTHEWS], ids=lambda m: m.column)
@pytest.mark.parametrize(("count", "num_classes", "right"), [(40, 2, 0.7), (6, 2, 0.5), (200, 12, 0.5), (30, 40, 0.9)])
def test_draws_at_once_are_draws_one_by_one(metric: Metric, count: int, num_classes: int, right: float) -> None:
    if metric is F1 and num_classes > 2:
        pytest.skip("F1 is for two classes")
    outputs, labels = classified(count, num_classes, right=right)
    draws = np.random.default_rng(5).integers(0, count, (40, count))
    draws[0] = draws[0, 0]  # one class only
    wanted = [float(metric.compute(outputs[d], labels[d])) for d in draws]
    assert metric.on_draws is not None
    np.testing.assert_allclose(metric.on_draws(outputs, labels, draws), wanted, atol=1e-12)


def test_pairs_are_drawn_together() -> None:
    """If halves of different pairs met, the correlation of the draws would vanish."""
    outputs, scores = embedded()
    replicates = SPEARMAN_COSINE.evidence(outputs, scores)
    assert replicates.shape == (RESAMPLES,)
    assert abs(np.median(replicates) - SPEARMAN_COSINE.value(outputs, scores)) < 0.03


def test_the_bootstrap_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    replicates = bootstrap(lambda drawn: values[drawn].mean(axis=1), 400)
    assert replicates.std() == pytest.approx(values.std() / 20, rel=0.1)
    again = bootstrap(lambda drawn: values[drawn].mean(axis=1), 400)
    assert np.array_equal(replicates, again)
    interval = bootstrap_interval(float(values.mean()), replicates)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert bootstrap_p_value(replicates + 1, replicates) == pytest.approx(2 / (RESAMPLES + 1))


def test_every_metric_is_found_by_its_column() -> None:
    for metric in (*map(METRICS.get, METRICS), SPEARMAN_COSINE):
        assert metric_of_column(metric.column) is metric
    assert metric_of_column("my_own") is None


CLASSES, SCORES, NOTHING = Situation("d", "classes", 2), Situation("d", "scores", None), Situation("d", None, 3)


@pytest.mark.parametrize(
    ("name", "situation", "column"),
    [
        (None, CLASSES, "accuracy_top1"),
        (None, SCORES, "spearman"),
        (None, Situation("d", "scores", None, pairs=True, embeds=True), "spearman_cosine"),
        (None, NOTHING, "agreement_top1"),
        (None, Situation("d", None, None), "fidelity"),
        (None, Situation("d", None, None, embeds=True), "cosine"),
        ("f1", CLASSES, "f1"),
        ("f1-macro", CLASSES, "f1_macro"),
        ("matthews", CLASSES, "matthews"),
        ("top5", Situation("d", "classes", 6), "accuracy_top5"),
        ("agreement", CLASSES, "agreement_top1"),
        ("spearman", Situation("d", "scores", None, pairs=True), "spearman_cosine"),
    ],
)
def test_the_metric_suits_the_situation(name: str | None, situation: Situation, column: str) -> None:
    assert choose_metric(name, situation).column == column


@pytest.mark.parametrize(
    ("name", "situation", "words"),
    [
        ("acuracy", CLASSES, ["unknown metric", "did you mean 'accuracy'?"]),
        ("accuracy", NOTHING, ["needs labels that are classes", "has no labels", "agreement"]),
        ("matthews", SCORES, ["needs labels that are classes", "has scores"]),
        ("spearman", CLASSES, ["needs labels that are scores", "has classes"]),
        ("top5", Situation("d", "classes", 5), ["at least 6 classes", "scores 5"]),
        ("f1", Situation("d", "classes", 3), ["exactly 2 classes", "scores 3", "f1-macro"]),
        ("agreement", Situation("d", None, None), ["at least 2 classes", "scores none"]),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(name: str, situation: Situation, words: list[str]) -> None:
    with pytest.raises((InputError, UnknownNameError)) as caught:
        choose_metric(name, situation)
    assert [w for w in words if w not in str(caught.value)] == [], caught.value


MODULE = """
import numpy as np
constant = 3
def brier(outputs, labels):
    return -((outputs - np.eye(outputs.shape[1])[labels]) ** 2).sum(axis=1)
def share(outputs, labels):
    return (outputs.argmax(1) == labels).mean()
def right(outputs, labels):
    return outputs.argmax(1) == labels
def shape(outputs, labels):
    return outputs
def nothing(outputs, labels):
    return None
def nan(outputs, labels):
    return np.where(outputs[:, 0] > 0, np.nan, 1.0)
def sometimes(outputs, labels):
    return float("nan") if len(outputs) > 16 else 1.0
def fails(outputs, labels):
    raise KeyError("no such thing")
def latency_ms(outputs, labels):
    return 1.0
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working folder, of a name that no other test uses."""
    name = f"metrics_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("import surely_not_installed")
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def make(path: str) -> Metric:
    outputs, labels = classified(16)
    return own_metric(path, labelled=True, outputs=outputs, target=labels)


def test_a_metric_of_ones_own(module: str) -> None:
    outputs, labels = classified(60)
    brier, share, right = (make(f"{module}:{name}") for name in ("brier", "share", "right"))
    assert [m.per_sample for m in (brier, share, right)] == [True, False, True]
    assert brier.column == "brier"
    assert share.value(outputs, labels) == right.value(outputs, labels) == TOP1.value(outputs, labels)
    evidence = right.evidence(outputs, labels)
    assert right.interval(0, evidence) == TOP1.interval(0, evidence)
    wide = share.interval(share.value(outputs, labels), share.evidence(outputs, labels))
    assert wide.low == pytest.approx(TOP1.interval(0, evidence).low, abs=0.05)
    assert brier.interval(0, brier.evidence(outputs, labels)).low < brier.value(outputs, labels) < 0
    assert module in brier.identity
    assert str(Path.cwd()) not in sys.path


def test_the_code_of_a_metric_is_part_of_what_it_is(module: str) -> None:
    before = make(f"{module}:share").identity
    Path(f"{module}.py").write_text(MODULE + "\n# changed\n")
    assert make(f"{module}:share").identity != before


BAD_METRICS = {
    "{m}:": ["read like 'package.module:function'"],
    "{m}:a b": ["read like"],
    "{m}_missing:share": ["cannot import", "No module named", "Python finds from"],
    "{m}_broken:share": ["cannot import", "surely_not_installed"],
    "{m}:shares": ["has no 'shares'"],
    "{m}:constant": ["must be a function", "int"],
    "{m}:shape": ["one number or one per sample", "(16, 3) for 16 samples", "correct the function"],
    "{m}:nothing": ["finite numbers", "nan"],
    "{m}:nan": ["finite numbers", "gives nan", "16 outputs of the float network"],
    "{m}:fails": ["fails ('no such thing')"],
    "{m}:latency_ms": ["name of another column", "rename"],
}


@pytest.mark.parametrize("path", BAD_METRICS)
def test_a_metric_that_cannot_serve_is_refused(module: str, path: str) -> None:
    given = path.format(m=module)
    with pytest.raises(InputError) as caught:
        make(given)
    assert [w for w in (*BAD_METRICS[path], given) if w not in str(caught.value)] == [], caught.value
    assert "\n" not in str(caught.value)


def test_a_metric_that_fails_later_is_a_failed_measurement(module: str) -> None:
    metric = make(f"{module}:sometimes")
    with pytest.raises(MeasurementError, match="gives nan"):
        metric.value(*classified(60))


@pytest.mark.parametrize(("metric", "num_classes"), [(TOP1, 2), (TOP1, 9), (TOP5, 6), (TOP5, 9), (AGREEMENT, 3)])
@pytest.mark.parametrize("rounded", [False, True], ids=["scores", "scores with ties"])
def test_margins_are_positive_where_answers_are_right(metric: Metric, num_classes: int, rounded: bool) -> None:
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(0.0, 2.0, (300, num_classes)).astype(np.float32), rng.integers(0, num_classes, 300)
    if rounded:
        outputs = np.rint(outputs)
    wanted = labels if metric.labelled else rng.normal(size=outputs.shape)
    margins = metric.margins(outputs, wanted)
    assert margins is not None
    np.testing.assert_array_equal(margins > 0, np.asarray(metric.compute(outputs, wanted)) == 1)
    assert np.abs(margins).max() <= 1.0


@pytest.mark.parametrize("form", [np.log, np.asarray], ids=["scores", "probabilities"])
def test_a_margin_is_how_much_likelier_the_label_is_than_what_comes_next(form: Callable[..., np.ndarray]) -> None:
    margins = TOP1.margins(form([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]), np.array([0, 2]))
    np.testing.assert_allclose(margins, [0.5, -0.6])


def test_what_is_no_share_of_right_answers_has_no_margins() -> None:
    assert F1.margins(np.eye(2), np.arange(2)) is None
