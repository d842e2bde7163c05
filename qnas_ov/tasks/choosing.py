"""Which metric judges a network, where none or only a name is given."""

from __future__ import annotations

from dataclasses import dataclass

from qnas_ov.core.errors import InputError
from qnas_ov.tasks.metrics import AGREEMENT, COSINE, FIDELITY, METRICS, SPEARMAN, SPEARMAN_COSINE, TOP1, Metric


@dataclass(frozen=True)
class Situation:
    """What there is to judge.

    Attributes:
        data: Name of the data set, for an error.
        labels: What its labels are: "classes", "scores", or None.
        num_classes: How many classes the network scores, or None.
        pairs: Whether samples are pairs of sentences that are embedded one by one.
        embeds: Whether the network gives embeddings.
    """

    data: str
    labels: str | None
    num_classes: int | None
    pairs: bool = False
    embeds: bool = False


def choose_metric(name: str | None, situation: Situation) -> Metric:
    """The metric of that name, or what suits the data and the network best.

    Accuracy where there are classes, Spearman's correlation where there are scores; without labels the cosine of
    embeddings, the agreement of classes, or the distance of outputs, each to those of the float network.

    Raises:
        UnknownNameError: If there is no such metric.
        InputError: If it needs other labels or another network.
    """
    if name is None:
        return _default(situation)
    metric = METRICS.get(name)
    if metric is SPEARMAN:
        metric = SPEARMAN_COSINE if situation.pairs else SPEARMAN
    wanted = None if not metric.labelled else "classes" if metric.classes else "scores"
    if wanted is not None and situation.labels != wanted:
        has = f"has {situation.labels}" if situation.labels else "has no labels"
        raise InputError(
            f"--metric {name} needs labels that are {wanted}, and '{situation.data}' {has}: choose another metric "
            "(agreement, cosine and fidelity need no labels)"
        )
    least = {"top5": 6, "f1": 2}.get(name, 2) if metric.classes else 0
    count = situation.num_classes or 0
    if count < least or (name == "f1" and count != 2):
        rule = "exactly 2 classes" if name == "f1" else f"a network that scores at least {least} classes"
        hint = "; f1-macro takes any number" if name == "f1" else ""
        raise InputError(f"--metric {name} needs {rule}: this one scores {count or 'none'}{hint}")
    return metric


def _default(situation: Situation) -> Metric:
    if situation.labels == "classes":
        return TOP1
    if situation.labels == "scores":
        return SPEARMAN_COSINE if situation.pairs else SPEARMAN
    if situation.embeds:
        return COSINE
    return FIDELITY if situation.num_classes is None else AGREEMENT
