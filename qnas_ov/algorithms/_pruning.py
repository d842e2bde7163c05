"""Precisions that gain nothing on this device, which need not be searched.

Source of the idea: C. Li et al., SpaceEvo (arXiv 2303.08308), which searches spaces that quantize well on a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qnas_ov.algorithms._problem import SearchProblem
from qnas_ov.space import KnobKind, Space

GAINED_BY_PRECISION = {"size_bytes", "memory_bytes", "throughput_per_s"}
"""What less precision may gain where it gains no latency."""
_SAMPLES = 64


@dataclass(frozen=True)
class Useless:
    """A choice that gains nothing.

    Attributes:
        knob: Column of the unit's knob.
        choice: The choice.
        hint: The choice of the inference precision under which it gains nothing.
    """

    knob: int
    choice: int
    hint: int


def find_useless(problem: SearchProblem) -> list[Useless]:
    """The choices whose latency the prior sees above that of floating point, in half of some drawn networks or more.

    None where there is no prior, and where size, memory or throughput is an objective or has a limit: less precision
    may be a gain in these.
    """
    space = problem.space
    wanted = {o.column for o in problem.objectives} | {c.column for c in problem.constraints}
    inference = space.of_kind(KnobKind.INFERENCE_PRECISION)
    if not (problem.layout.prior and inference) or wanted & GAINED_BY_PRECISION:
        return []
    found, drawn = [], space.sample(np.random.default_rng(0), _SAMPLES)
    for hint in range(int(space.num_choices[inference[0]])):
        drawn[:, inference[0]] = hint
        for knob in space.of_kind(KnobKind.PRECISION):
            here = drawn[space.active(drawn)[:, knob]]
            last = int(space.num_choices[knob]) - 1
            here[:, knob] = last
            floating = problem.features(here)[:, -1]
            for choice in range(last):
                here[:, knob] = choice
                if len(here) and np.median(floating - problem.features(here)[:, -1]) <= 0:
                    found.append(Useless(knob, choice, hint))
    return found


def prune(space: Space, useless: Sequence[Useless], genotypes: np.ndarray) -> np.ndarray:
    """Canonical genotypes (n, num_knobs) with floating point in the place of what is useless, each once and sorted."""
    if not useless:
        return genotypes
    found = genotypes.copy()
    hints = found[:, space.of_kind(KnobKind.INFERENCE_PRECISION)[0]]
    for one in useless:
        found[(hints == one.hint) & (genotypes[:, one.knob] == one.choice), one.knob] = space.num_choices[one.knob] - 1
    return np.unique(space.canonical_array(found), axis=0)
