"""Metrics: what judges a network's outputs on a split. More is better, always."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from qnas_ov.core.errors import MeasurementError
from qnas_ov.core.records import Interval
from qnas_ov.core.registry import Registry
from qnas_ov.tasks.confusion import f1_macro_on_draws, f1_on_draws, matthews_on_draws
from qnas_ov.tasks.intervals import bootstrap, bootstrap_interval, bootstrap_p_value, mean_interval, paired_p_value

_TIED = 1e-6

Compute = Callable[[np.ndarray, np.ndarray], "np.ndarray | float"]


@dataclass(frozen=True)
class Metric:
    """Maps a network's outputs to a number.

    Attributes:
        column: Its name in tables, for instance "accuracy_top1".
        compute: Maps outputs (n, ...) and what they should be to a score per sample, (n,), whose mean the metric is; or
            to the metric itself. What they should be is the labels (n,) if `labelled`, else the outputs of the float
            network (n, ...).
        labelled: Whether it needs labels.
        per_sample: Whether `compute` gives a score per sample.
        binary: Whether every such score is 0 or 1; None tells by the scores.
        classes: Whether outputs are scores of classes.
        rows: Consecutive outputs that make one sample: 2 for pairs of sentences that are embedded one by one.
        tolerance: How far it may move on another machine, if not by whole samples.
        identity: What tells two metrics of one name apart: the digest of a user's own.
        on_draws: What `compute` gives on draws of samples (draws, n), as (draws,), where that is quicker at once.
        clearness: Maps what `compute` gets to how clear each answer is, (n,), from -1 to 1; None where scores are not 0
            or 1.
    """

    column: str
    compute: Compute
    labelled: bool
    per_sample: bool = True
    binary: bool | None = False
    classes: bool = False
    rows: int = 1
    tolerance: float = 0.02
    identity: str = ""
    on_draws: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    clearness: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    def value(self, outputs: np.ndarray, target: np.ndarray) -> float:
        """The metric on all samples.

        Raises:
            MeasurementError: If it is not a finite number.
        """
        return self._checked(float(np.mean(self.compute(outputs, target))))

    def margins(self, outputs: np.ndarray, target: np.ndarray) -> np.ndarray | None:
        """How clear each answer is, (n,), from -1 to 1, positive where its score is 1; None where that is undefined."""
        if self.clearness is None:
            return None
        found = self.clearness(outputs, target)
        right = np.asarray(self.compute(outputs, target)) == 1  # which decides where classes are tied
        return np.where(right, np.maximum(found, _TIED), np.minimum(found, -_TIED))

    def evidence(self, outputs: np.ndarray, target: np.ndarray) -> np.ndarray:
        """What intervals and paired tests are made of: the scores (n,), or bootstrap replicates of the metric.

        Raises:
            MeasurementError: If the metric is not a finite number on a draw of samples.
        """
        if self.per_sample:
            return np.asarray(self.compute(outputs, target), dtype=np.float64)

        def on_draw(samples: np.ndarray) -> float:
            members = (samples[:, None] * self.rows + np.arange(self.rows)).ravel()
            return self._checked(float(self.compute(outputs[members], target[members])))

        def statistic(draws: np.ndarray) -> np.ndarray:
            if self.on_draws is not None:
                return self.on_draws(outputs, target, draws)
            return np.array([on_draw(samples) for samples in draws])

        return bootstrap(statistic, len(outputs) // self.rows)

    def interval(self, value: float, evidence: np.ndarray) -> Interval:
        """The metric with its 95% confidence interval."""
        if not self.per_sample:
            return bootstrap_interval(value, evidence)
        return mean_interval(evidence, binary=self._is_binary(evidence))

    def p_value(self, first: np.ndarray, second: np.ndarray) -> float:
        """Two-sided paired test of two networks by their evidence on the same samples."""
        if not self.per_sample:
            return bootstrap_p_value(first, second)
        return paired_p_value(first, second, binary=self._is_binary(first) and self._is_binary(second))

    def _is_binary(self, scores: np.ndarray) -> bool:
        return bool(np.isin(scores, (0.0, 1.0)).all()) if self.binary is None else self.binary

    def _checked(self, value: float) -> float:
        if not np.isfinite(value):
            raise MeasurementError(f"the metric '{self.column}' gives {value} and must give a finite number")
        return value


def top1(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1.0 where the largest output is the label, else 0.0: float array (n,)."""
    return np.asarray(outputs.argmax(axis=-1) == labels, dtype=np.float64)


def top5(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1.0 where the label is among the five largest outputs, else 0.0: float array (n,)."""
    best = np.argpartition(-outputs, 4, axis=-1)[:, :5]
    return np.asarray((best == labels[:, None]).any(axis=1), dtype=np.float64)


def top_margins(outputs: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The probability of the label less that of the other class which it must not fall below: float array (n,).

    Args:
        outputs: (n, num_classes): probabilities, or scores of which softmax makes such.
        labels: (n,).
        count: How many classes are a network's answer: the label must be among the largest so many.
    """
    likely = outputs.astype(np.float64)
    if (likely < 0).any() or not np.allclose(likely.sum(axis=-1), 1.0, atol=1e-2):
        likely = softmax(likely, axis=-1)
    rows = np.arange(len(likely))
    wanted = likely[rows, labels]
    likely[rows, labels] = -1.0
    count = min(count, likely.shape[1] - 1)
    return np.asarray(wanted - np.partition(likely, -count, axis=-1)[:, -count])


def f1(outputs: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1 among two, 0 where nothing is or is taken for that class."""
    return float(f1_score(labels, outputs.argmax(axis=-1), zero_division=0.0))


def f1_macro(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Mean of F1 over all classes that occur or are given."""
    return float(f1_score(labels, outputs.argmax(axis=-1), average="macro", zero_division=0.0))


def matthews(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Matthews' correlation of classes, from -1 to 1; 0 is what guessing scores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples of a single class, which score 0
        return float(matthews_corrcoef(labels, outputs.argmax(axis=-1)))


def spearman(outputs: np.ndarray, scores: np.ndarray) -> float:
    """Spearman's correlation of a network's one output with scores (n,), 0 where either does not vary."""
    return _rank_correlation(outputs.reshape(len(outputs)), scores)


def spearman_cosine(outputs: np.ndarray, scores: np.ndarray) -> float:
    """Spearman's correlation of the cosine of two embeddings with the score of their pair.

    Args:
        outputs: (2n, width), or with further axes of length 1: the two of a pair follow each other.
        scores: (2n,), that of a pair twice.
    """
    first, second = outputs[0::2].reshape(len(outputs) // 2, -1), outputs[1::2].reshape(len(outputs) // 2, -1)
    return _rank_correlation(_cosines(first, second), scores[0::2])


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what does not vary gives NaN, which is told here
        value = float(spearmanr(first, second).statistic)
    return 0.0 if np.isnan(value) else value


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.sum(first.astype(np.float64) * second, axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros(len(first)), where=lengths > 0))


def cosine(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Cosine between each output and that of the float network: float array (n,)."""
    count = len(outputs)
    return _cosines(outputs.reshape(count, -1), reference.reshape(count, -1))


def agreement_top1(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1.0 where the largest output is that of the float network, else 0.0: float array (n,)."""
    return top1(outputs, reference.argmax(axis=-1))


def agreement_margins(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`top_margins` of the float network's answers: float array (n,)."""
    return top_margins(outputs, reference.argmax(axis=-1), 1)


def output_error(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Distance of outputs to those of the float network, per sample.

    Unit: the root mean square distance of the float network's outputs from their mean over the samples, so that 1 is
    what a network scores that ignores its input. With one sample, or outputs that do not vary, their own length.

    Args:
        outputs: (n, ...).
        reference: (n, ...).

    Returns:
        Float array (n,), 0 where the outputs are equal.
    """
    count = len(reference)
    flat, ideal = outputs.reshape(count, -1).astype(np.float64), reference.reshape(count, -1).astype(np.float64)
    spread = np.sqrt(np.mean(np.sum((ideal - ideal.mean(axis=0)) ** 2, axis=1)))
    unit = spread if spread > 0 else np.sqrt(np.mean(np.sum(ideal**2, axis=1)))
    return np.asarray(np.linalg.norm(flat - ideal, axis=1) / (unit if unit > 0 else 1.0))


def fidelity(outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1 minus `output_error`, at least 0: float array (n,)."""
    return np.maximum(0.0, 1.0 - output_error(outputs, reference))


TOP1 = Metric("accuracy_top1", top1, labelled=True, binary=True, classes=True, clearness=partial(top_margins, count=1))
TOP5 = Metric("accuracy_top5", top5, labelled=True, binary=True, classes=True, clearness=partial(top_margins, count=5))
F1 = Metric("f1", f1, labelled=True, per_sample=False, classes=True, on_draws=f1_on_draws)
F1_MACRO = Metric("f1_macro", f1_macro, labelled=True, per_sample=False, classes=True, on_draws=f1_macro_on_draws)
MATTHEWS = Metric("matthews", matthews, labelled=True, per_sample=False, classes=True, on_draws=matthews_on_draws)
SPEARMAN = Metric("spearman", spearman, labelled=True, per_sample=False, tolerance=0.05)
SPEARMAN_COSINE = Metric("spearman_cosine", spearman_cosine, labelled=True, per_sample=False, rows=2, tolerance=0.05)
AGREEMENT = Metric(
    "agreement_top1", agreement_top1, labelled=False, binary=True, classes=True, clearness=agreement_margins
)
COSINE = Metric("cosine", cosine, labelled=False)
FIDELITY = Metric("fidelity", fidelity, labelled=False)

METRICS: Registry[Metric] = Registry("metric")
"""By what they are called on the command line."""

for _name, _metric in {
    "accuracy": TOP1,
    "top5": TOP5,
    "f1": F1,
    "f1-macro": F1_MACRO,
    "matthews": MATTHEWS,
    "spearman": SPEARMAN,
    "agreement": AGREEMENT,
    "cosine": COSINE,
    "fidelity": FIDELITY,
}.items():
    METRICS.add(_name, _metric)


def metric_of_column(column: str) -> Metric | None:
    """The metric of a column, None if there is none here: a user's own, or one of another version."""
    known = (*map(METRICS.get, METRICS), SPEARMAN_COSINE)
    return next((metric for metric in known if metric.column == column), None)
