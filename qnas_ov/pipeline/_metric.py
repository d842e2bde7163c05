"""The metric that a recipe names, or that suits the data; a user's own is tried before anything is measured."""

from __future__ import annotations

from qnas_ov.measure import predict_outputs
from qnas_ov.pipeline._source import SourceNetwork
from qnas_ov.recipe import Recipe
from qnas_ov.tasks import METRICS, Metric, Situation, Split, choose_metric, import_metric, is_own_metric, own_metric

_PROBES = 16


def ignores_labels(name: str | None) -> bool:
    """Whether the recipe asks for a metric that compares with the float network although there may be labels."""
    return name is not None and not is_own_metric(name) and not METRICS.get(name).labelled


def check_metric(name: str | None) -> None:
    """Checks that there is such a metric, before data are read.

    Raises:
        QnasError: If it is unknown, or cannot be imported.
    """
    if name is not None:
        import_metric(name) if is_own_metric(name) else METRICS.get(name)


def pick_metric(recipe: Recipe, situation: Situation, network: SourceNetwork, validation: Split) -> Metric:
    """The metric of the recipe, or what suits best.

    Raises:
        QnasError: If it does not fit the labels or the network, or does not give numbers.
    """
    if recipe.metric is None or not is_own_metric(recipe.metric):
        return choose_metric(recipe.metric, situation)
    probe = validation.thinned(_PROBES)
    outputs = predict_outputs(
        network.model, probe.inputs, device=recipe.device.upper(), inference_precision="f32",
        batch_size=network.batch_size,
    )[0]  # fmt: skip
    target = outputs if probe.labels is None else probe.labels
    return own_metric(
        recipe.metric, labelled=probe.labels is not None, rows=validation.rows, outputs=outputs, target=target
    )
