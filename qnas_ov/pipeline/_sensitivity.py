"""What INT8 costs each precision unit alone, what it saves, and which units must stay in floating point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openvino as ov
import pandas as pd

from qnas_ov.core.errors import ConstraintError, InputError
from qnas_ov.core.files import atomic_folder, check_place, write_json, write_text
from qnas_ov.core.progress import Progress, Silent
from qnas_ov.core.records import Interval
from qnas_ov.ir import FLOAT, INT8, PrecisionUnit, save_ir
from qnas_ov.measure import LatencyDifference, RunSettings
from qnas_ov.pipeline._scorer import Scorer, Scores
from qnas_ov.pipeline._setup import Network, Setup, prepare_network, resolve
from qnas_ov.pipeline._source import Source
from qnas_ov.report import render_sensitivity
from qnas_ov.tasks import Split


@dataclass(frozen=True)
class UnitSensitivity:
    """A unit in INT8 while all others are in floating point, on the validation split.

    Attributes:
        unit: Its key.
        operations: Friendly names of its operations.
        params: Numbers in its weights.
        macs: Multiply-accumulates of its operations on one sample.
        output_error: Mean distance to the float network's outputs.
        metric: The metric.
        saving_ms: Latency that INT8 saves against all-float, with its 95% interval; None if it was not measured.
    """

    unit: str
    operations: tuple[str, ...]
    params: int
    macs: int
    output_error: float
    metric: float
    saving_ms: Interval | None


@dataclass(frozen=True)
class Policy:
    """The policy with the fewest float units, worst first, that keeps the limits.

    Attributes:
        limit: The limits as they were given.
        quantity: What `validation` and `test` are: "the drop of <metric>" or "the output error".
        float_units: Keys of the units that stay in floating point, worst first.
        ignored_scope: The `nncf.IgnoredScope` that gives this policy in `nncf.quantize`, or None if nothing is ignored.
        validation: On validation data.
        test: On test data, which chose nothing.
    """

    limit: str
    quantity: str
    float_units: tuple[str, ...]
    ignored_scope: str | None
    validation: float
    test: float


@dataclass(frozen=True)
class Sensitivity:
    """All units, worst first.

    Attributes:
        model: Name of the network.
        metric: Column of the metric.
        inference_precision: The hint under which all was measured.
        reference: Score of the float network under f32; losses count from here.
        all_float: Score of the float network under the hint.
        all_int8: Score of the fully INT8 network under the hint.
        all_int8_error: Its output error.
        num_samples: Validation samples that each unit was measured on.
        units: The units.
        policy: For the given limit, or None.
    """

    model: str
    metric: str
    inference_precision: str
    reference: float
    all_float: float
    all_int8: float
    all_int8_error: float
    num_samples: int
    units: tuple[UnitSensitivity, ...]
    policy: Policy | None

    def table(self) -> pd.DataFrame:
        """One row a unit, worst first."""
        rows = []
        for u in self.units:
            row = {"unit": u.unit, "output_error": u.output_error, self.metric: u.metric}
            if u.saving_ms is not None:
                row |= {"saving_ms": u.saving_ms.value}
                row |= {"saving_ms_ci95_low": u.saving_ms.low, "saving_ms_ci95_high": u.saving_ms.high}
            rows.append({**row, "params": u.params, "macs": u.macs, "operations": ";".join(u.operations)})
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON."""
        return asdict(self)


def run_sensitivity(
    given: Mapping[str, Any],
    *,
    out: Path | None = None,
    samples: int | None = None,
    latency: bool = True,
    progress: Progress | None = None,
    origin: str = "the settings",
    source: Source | None = None,
) -> Sensitivity:
    """Measures every precision unit alone, and finds the units to ignore for a limit.

    Args:
        given: Settings by the names of `Recipe`; `max_drop` and `max_error` ask for the policy. Under "auto" the hint
            is the cheapest that the device computes in hardware, which is also what it runs by default.
        out: New folder for `sensitivity.csv`, `.json` and `.html`, and the policy's network `policy.xml`; or None.
        samples: How many validation samples to measure each unit on, None for all; a policy is judged on all. The
            output error is paired with the float network sample by sample, so that few tell the units apart.
        latency: Whether to measure what INT8 saves.
        progress: Where to tell what happens.
        origin: What the settings are called in an error.
        source: The network, where `model` cannot be found by its name: a module given from Python.

    Raises:
        QnasError: If the input does not fit, or no policy keeps the limit.
    """
    progress = progress or Silent()
    if out is not None and out.exists():
        raise InputError(f"--out '{out}' must not exist yet: choose a new folder")
    if out is not None:
        check_place(out)
    setup = resolve(given, origin=origin, source=source, progress=progress)
    network = prepare_network(setup, progress)
    try:
        result, model = _measure(setup, network, progress, samples=samples, latency=latency)
    finally:
        progress.end()
    if out is not None:
        _write(result, model, out)
    return result


class _Policies:
    """Builds and judges policies of the unsearched architecture."""

    def __init__(self, setup: Setup, network: Network) -> None:
        self._network = network
        self.hint = setup.precisions[0]
        self._scorer = Scorer(setup, network)

    def build(self, precision: str, others: Mapping[str, str] | None = None) -> ov.Model:
        """The network with every unit in `precision`, but for `others`."""
        builder = self._network.builder
        policy = {u.key: (others or {}).get(u.key, precision) for u in builder.units}
        return builder.build_policy(self._network.largest, policy)

    def score(self, model: ov.Model, split: Split, hint: str | None = None) -> Scores:
        return self._scorer.score(model, [split], hint or self.hint)[0]


def _measure(
    setup: Setup, network: Network, progress: Progress, *, samples: int | None, latency: bool
) -> tuple[Sensitivity, ov.Model | None]:
    """The result, and the network of its policy."""
    policies, units, task = _Policies(setup, network), network.builder.units, setup.task
    all_float, all_int8 = policies.build(FLOAT), policies.build(INT8)
    reference = policies.score(network.bank.source, task.validation, "f32").value
    float_scores, int8_scores = (policies.score(m, task.validation) for m in (all_float, all_int8))
    probe = task.validation.thinned(samples)
    timer = None
    if latency:
        settings = RunSettings(
            device=setup.recipe.device, shapes=network.source.shapes, inference_precision=policies.hint
        )
        timer = LatencyDifference(all_float, settings)
    progress.begin("measuring units one at a time", len(units))
    found = []
    for unit in units:
        model = policies.build(FLOAT, {unit.key: INT8})
        scores = policies.score(model, probe)
        saving = timer.saved_by(model) if timer is not None else None
        found.append(
            UnitSensitivity(
                unit.key, unit.operations, unit.params, unit.macs,
                float(scores.error.mean()), scores.value, saving,
            )
        )  # fmt: skip
        progress.step(f"{unit.key}: output error {found[-1].output_error:.4f}")
    progress.end()
    found.sort(key=lambda u: (-u.output_error, u.unit))
    limited = setup.recipe.max_drop is not None or setup.recipe.max_error is not None
    policy, chosen = _find_policy(setup, network, policies, found, progress) if limited else (None, None)
    result = Sensitivity(
        model=setup.source.name,
        metric=task.metric.column,
        inference_precision=policies.hint,
        reference=reference,
        all_float=float_scores.value,
        all_int8=int8_scores.value,
        all_int8_error=float(int8_scores.error.mean()),
        num_samples=len(probe),
        units=tuple(found),
        policy=policy,
    )
    return result, chosen


@dataclass(frozen=True)
class _Limits:
    """What a policy must keep."""

    max_drop: float | None
    max_error: float | None
    metric: str

    def __str__(self) -> str:
        given = (("--max-drop", self.max_drop), ("--max-error", self.max_error))
        return " and ".join(f"{name} {value:g}" for name, value in given if value is not None)

    @property
    def quantity(self) -> str:
        return "the output error" if self.max_drop is None else f"the drop of {self.metric}"

    def met(self, drop: float, error: float) -> bool:
        return not (
            (self.max_drop is not None and drop > self.max_drop)
            or (self.max_error is not None and error > self.max_error)
        )


def _find_policy(
    setup: Setup, network: Network, policies: _Policies, worst_first: Sequence[UnitSensitivity], progress: Progress
) -> tuple[Policy, ov.Model]:
    """Bisects over how many of the worst units stay in floating point.

    Raises:
        ConstraintError: If even all units in floating point break a limit.
    """
    task = setup.task
    limits = _Limits(setup.recipe.max_drop, setup.recipe.max_error, task.metric.column)

    def judge(count: int, split: Split) -> tuple[float, float]:
        scores = policies.score(policies.build(INT8, {u.unit: FLOAT for u in worst_first[:count]}), split)
        reference = policies.score(network.bank.source, split, "f32").value
        return reference - scores.value, float(scores.error.mean())

    low, high = -1, len(worst_first)
    judged = {high: judge(high, task.validation)}
    if not limits.met(*judged[high]):
        drop, error = judged[high]
        raise ConstraintError(
            f"no policy keeps {limits} under the {policies.hint} hint: with all units in floating point "
            f"{task.metric.column} falls by {drop:.4f} and the output error is {error:.4f} on {len(task.validation)} "
            "validation samples; allow more, or choose --inference-precision f32"
        )
    progress.begin(f"finding the units to ignore for {limits}", max(1, high.bit_length()))
    while high - low > 1:
        middle = (low + high) // 2
        judged[middle] = judge(middle, task.validation)
        low, high = (low, middle) if limits.met(*judged[middle]) else (middle, high)
        progress.step(f"{middle} units in floating point: drop {judged[middle][0]:.4f}, error {judged[middle][1]:.4f}")
    progress.end()
    units = {u.key: u for u in network.builder.units}
    chosen = [u.unit for u in worst_first[:high]]
    which = 1 if limits.max_drop is None else 0
    policy = Policy(
        limit=str(limits),
        quantity=limits.quantity,
        float_units=tuple(chosen),
        ignored_scope=ignored_scope([units[key] for key in chosen]),
        validation=judged[high][which],
        test=judge(high, task.test)[which],
    )
    return policy, policies.build(INT8, dict.fromkeys(chosen, FLOAT))


def ignored_scope(units: Sequence[PrecisionUnit]) -> str | None:
    """Python source of the `nncf.IgnoredScope` that keeps units in floating point; None for no units."""
    names = [name for unit in units for name in unit.operations]
    if not names:
        return None
    return "nncf.IgnoredScope(names=[\n" + "".join(f"    {name!r},\n" for name in names) + "])"


def _write(result: Sensitivity, model: ov.Model | None, out: Path) -> None:
    table = result.table()
    with atomic_folder(out) as part:
        if model is not None:
            save_ir(model, part / "policy.xml")
        write_text(part / "sensitivity.csv", table.to_csv(index=False))
        write_json(part / "sensitivity.json", result.to_json())
        write_text(part / "sensitivity.html", render_sensitivity(result.to_json(), table))
