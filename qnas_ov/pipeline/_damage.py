"""What INT8 costs each precision unit alone, measured once before a search, without labels and without latency."""

from __future__ import annotations

import math

from qnas_ov.core.progress import Progress
from qnas_ov.ir import FLOAT, INT8
from qnas_ov.journal import Journal
from qnas_ov.pipeline._scorer import Scorer
from qnas_ov.pipeline._setup import Network, Setup
from qnas_ov.pipeline._table import unit_work
from qnas_ov.predict import UnitDamage

DAMAGE, PROBE_SAMPLES = "unit_damage", 64


def recall_or_measure_damage(
    setup: Setup, network: Network, scorer: Scorer, journal: Journal, progress: Progress
) -> UnitDamage | None:
    """The damage that a run's journal keeps, or a new measurement, which is then kept; None where INT8 is not searched.

    A unit runs in INT8 while all others are in floating point, under each inference precision, on a few validation
    samples; the distance to the float network's outputs, over that of the network in floating point, is its damage.
    Errors of independent units add in squares.
    """
    builder, precisions = network.builder, setup.precisions
    if INT8 not in setup.recipe.precisions:
        return None
    kept = journal.meta(DAMAGE)
    if kept is None:
        probe = setup.task.validation.thinned(PROBE_SAMPLES)
        progress.begin("measuring what INT8 costs each unit alone", len(builder.units) * len(precisions))

        def error(policy: dict[str, str], hint: str) -> float:
            model = builder.build_policy(network.largest, {u.key: policy.get(u.key, FLOAT) for u in builder.units})
            return float(scorer.score(model, [probe], hint)[0].error.mean())

        kept = []
        for hint in precisions:
            before = error({}, hint)
            found = {}
            for unit in builder.units:
                after = error({unit.key: INT8}, hint)
                found[unit.key] = math.sqrt(max(after**2 - before**2, 0.0))
                progress.step(f"{unit.key} under {hint}: output error {after:.4f}")
            kept.append(found)
        progress.end()
        journal.set_meta(DAMAGE, kept)
    return UnitDamage(builder.space, unit_work(builder), kept)
