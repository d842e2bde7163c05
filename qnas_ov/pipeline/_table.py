"""The look-up table of a network: what its units take on this device, from a few networks with counters on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qnas_ov.core.errors import MeasurementError
from qnas_ov.core.progress import Progress
from qnas_ov.ir import CandidateBuilder, PrecisionUnit, save_ir
from qnas_ov.journal import Journal
from qnas_ov.measure import Profile
from qnas_ov.predict import LookUpTable, UnitTimes, UnitWork, table_genotypes
from qnas_ov.space import Genotype

TABLE = "latency_table"


def unit_work(builder: CandidateBuilder) -> list[UnitWork]:
    """The units of a space as predictors see them."""
    return [
        UnitWork(u.key, u.knob, float(u.macs), float(u.params), builder.widths_of(u), float(builder.elements[u.key]))
        for u in builder.units
    ]


def recall_or_measure_table(
    builder: CandidateBuilder,
    profile: Callable[[Path, str], Profile],
    *,
    folder: Path,
    journal: Journal,
    progress: Progress,
) -> LookUpTable | None:
    """The table that a run's journal keeps, or a new one, which is then kept; None if the device gives no counters.

    Args:
        builder: Cuts the networks.
        profile: Measures an .xml under an inference precision.
        folder: Where networks are saved while they are measured.
        journal: The run's.
        progress: Where to tell that there is none.
    """
    kept = journal.meta(TABLE)
    if kept is None:
        try:
            _, times = measure_table(builder, profile, folder)
        except MeasurementError as error:
            progress.say(f"latency is predicted without a look-up table: {error}")
            times = []
        kept = [t.to_json() for t in times]
        journal.set_meta(TABLE, kept)
    measured = [UnitTimes.from_json(record) for record in kept]
    return LookUpTable(builder.space, unit_work(builder), measured) if measured else None


def measure_table(
    builder: CandidateBuilder, profile: Callable[[Path, str], Profile], folder: Path
) -> tuple[LookUpTable, list[UnitTimes]]:
    """Profiles the networks of `table_genotypes` and adds up, unit by unit, what their kernels took.

    Args:
        builder: Cuts the networks.
        profile: Measures an .xml under an inference precision.
        folder: Where the networks are saved while they are measured.

    Raises:
        MeasurementError: If benchmark_app gives no counters.
    """
    measured = []
    for genotype in table_genotypes(builder.space):
        candidate = builder.candidate(genotype)
        path = save_ir(builder.build(candidate), folder / "table.xml")
        try:
            found = profile(path, candidate.inference_precision)
        finally:
            path.unlink(missing_ok=True)
            path.with_suffix(".bin").unlink(missing_ok=True)
        measured.append(times_of_units(genotype, builder.units, found))
    return LookUpTable(builder.space, unit_work(builder), measured), measured


def times_of_units(genotype: Genotype, units: tuple[PrecisionUnit, ...], profile: Profile) -> UnitTimes:
    """Adds up the kernels that compute operations of each unit; one that several share is the first one's."""
    owner = {name: u.key for u in reversed(units) for name in u.operations}
    # A product and its bias fuse under the name of either: "…/MatMul" and "…/Add" of one layer.
    owner |= {name.rsplit("/", 1)[0]: key for name, key in owner.items() if "/" in name}
    times: dict[str, float] = {}
    rest = 0.0
    for kernel in profile.kernels:
        places = [p for name in kernel.operations for p in (name, name.rsplit("/", 1)[0])]
        key = next((owner[p] for p in places if p in owner), None)
        if key is None:
            rest += kernel.time_ms
        else:
            times[key] = times.get(key, 0.0) + kernel.time_ms
    return UnitTimes(genotype, times, rest)
