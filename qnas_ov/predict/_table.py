"""A look-up table of what units take, measured once per device, and the latency of a candidate as their sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qnas_ov.predict._units import UnitUse, UnitWork
from qnas_ov.space import Genotype, KnobKind, Space


def table_genotypes(space: Space) -> list[Genotype]:
    """The networks that a table is measured on: all units in one precision, under each inference precision.

    The deepest network has layers enough for every width: the j-th knob of a sort takes choice j, j + 1, ... in turn.
    """
    seen: dict[str, int] = defaultdict(int)
    widths = space.num_choices - 1
    for i, knob in enumerate(space.knobs):
        if knob.kind is KnobKind.WIDTH:
            sort = knob.name.rsplit(".", 1)[-1]
            widths[i] = (len(knob.choices) - 1 - seen[sort]) % len(knob.choices)
            seen[sort] += 1
    precision, hint = space.of_kind(KnobKind.PRECISION), space.of_kind(KnobKind.INFERENCE_PRECISION)
    found = []
    for choice in range(int(space.num_choices[precision].max()) if precision else 1):
        for inference in range(int(space.num_choices[hint[0]]) if hint else 1):
            genes = widths.copy()
            genes[precision] = np.minimum(choice, space.num_choices[precision] - 1)
            genes[hint] = inference
            found.append(space.canonical(genes))
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class UnitTimes:
    """Where the time of one network goes.

    Attributes:
        genotype: The network.
        units: Milliseconds by the name of the unit.
        rest_ms: What belongs to no unit: normalisations, activations, embeddings.
    """

    genotype: Genotype
    units: Mapping[str, float]
    rest_ms: float

    def to_json(self) -> dict[str, Any]:
        """The times as JSON."""
        return {"genotype": list(self.genotype), "units": dict(self.units), "rest_ms": self.rest_ms}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> UnitTimes:
        """The times that `to_json` wrote."""
        return UnitTimes(tuple(record["genotype"]), dict(record["units"]), record["rest_ms"])


class LookUpTable:
    """Latency as the sum of table entries.

    An entry is the mean time of the units of a kind at a width, in a precision, under an inference precision; between
    measured widths it is interpolated. What belongs to no unit is spread over the units of the network, so that it
    shrinks with depth. Source of the idea: H. Cai et al., ProxylessNAS (arXiv 1812.00332), section 3.2.
    """

    def __init__(self, space: Space, units: Sequence[UnitWork], measured: Sequence[UnitTimes]) -> None:
        """Makes the table.

        Args:
            space: The space.
            units: Its units.
            measured: Networks of `table_genotypes`, or any others; every unit must occur in one.
        """
        self._space = space
        self._use = use = UnitUse(space, units)
        times: dict[tuple[str, int, int], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
        rest: dict[tuple[int, int], list[float]] = defaultdict(list)
        for network in measured:
            genes = np.array([network.genotype])
            hint, active = int(use.hints(genes).argmax()), space.active(genes)[0]
            present = [i for i, column in enumerate(use.columns) if active[column]]
            for i in present:
                unit, precision = use.units[i], int(genes[0, use.columns[i]])
                share = float(use.width_shares(i)[use.width_index(i, genes)[0]])
                times[unit.kind, precision, hint][share].append(network.units.get(unit.name, 0.0))
                rest[precision, hint].append(network.rest_ms / len(present))
        self._entries = [self._entries_of(i, times, rest) for i in range(len(use.units))]

    def _entries_of(
        self,
        number: int,
        times: Mapping[tuple[str, int, int], Mapping[float, Sequence[float]]],
        rest: Mapping[tuple[int, int], Sequence[float]],
    ) -> np.ndarray:
        """Milliseconds of a unit: (num_precisions, num_hints, combinations of its widths)."""
        use, unit = self._use, self._use.units[number]
        choices = int(self._space.num_choices[use.columns[number]])
        shares = use.width_shares(number)
        entries = np.zeros((choices, use.num_hints, len(shares)))
        for precision in range(choices):
            for hint in range(use.num_hints):
                known = times[unit.kind, precision, hint]
                places = sorted(known)
                values = [float(np.mean(known[p])) for p in places]
                entries[precision, hint] = np.interp(shares, places, values) + np.mean(rest[precision, hint])
        return entries

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Milliseconds of canonical genotypes (n, num_knobs): (n,)."""
        total = np.zeros(len(genotypes))
        hints, active = self._use.hints(genotypes).argmax(axis=1), self._space.active(genotypes)
        for number, (column, entries) in enumerate(zip(self._use.columns, self._entries, strict=True)):
            found = entries[genotypes[:, column], hints, self._use.width_index(number, genotypes)]
            total += np.where(active[:, column], found, 0.0)
        return total
