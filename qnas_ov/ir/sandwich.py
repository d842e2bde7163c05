"""Activation ranges that fit all subnetworks: those of the largest, the smallest and random ones, averaged.

The bank's ranges are those of the largest network. What a narrower or shallower subnetwork computes lies elsewhere, so
that subnetworks get the mean of the ranges that NNCF finds on a sandwich of architectures, each cut from the network
after SmoothQuant. (The sandwich is that of the training, J. Yu et al., arXiv 1903.05134.) The largest network keeps its
own, which are exactly those of `nncf.quantize`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from qnas_ov.core.errors import RunFolderError
from qnas_ov.core.files import atomic_folder
from qnas_ov.core.fingerprint import digest_json
from qnas_ov.families import Architecture, Elastic
from qnas_ov.ir.calibrate import Bank, Ranges, Sample, Scheme, collect_ranges, read_ranges
from qnas_ov.ir.channels import plan_channels
from qnas_ov.ir.graph import nodes_by_name
from qnas_ov.ir.norms import NormEstimator
from qnas_ov.ir.surgery import drop_blocks, replace_constant, slice_channels
from qnas_ov.space import Space

RANGES_FORMAT = 1
NUM_RANDOM = 2
MAX_SAMPLES = 64
"""Of the calibration samples: each architecture runs on them once, and means of ranges settle soon."""

_FILE = "ranges.npz"
_SEED = 0


def load_or_collect_ranges(
    bank: Bank,
    elastic: Elastic,
    samples: Sequence[Sample],
    scheme: Scheme,
    *,
    cache: Path,
    norms: NormEstimator | None = None,
) -> Ranges:
    """The ranges of subnetworks: from `cache` if they were collected before from the same inputs.

    Args:
        bank: What subnetworks are cut from.
        elastic: Their dimensions.
        samples: As for the bank.
        scheme: As for the bank.
        cache: Folder that holds them.
        norms: What estimates batch normalisations of subnetworks; None if there are none.

    Returns:
        Ranges by the name of a quantizer in the bank; none if nothing is elastic.
    """
    architectures = sandwich(elastic)
    if not architectures:
        return {}
    content = {"format": RANGES_FORMAT, "bank": bank.digest, "sandwich": architectures, "samples": MAX_SAMPLES}
    folder = cache / f"ranges-{digest_json(content)}"
    if folder.exists():
        with suppress(OSError, ValueError, KeyError):  # a damaged cache entry is collected again
            return _read(folder / _FILE)
    found = [read_ranges(bank.int8)]
    for architecture in architectures:
        model = _cut(bank, elastic, architecture, norms)
        found.append(collect_ranges(model, samples[:MAX_SAMPLES], scheme))
    ranges = average_ranges(found)
    with suppress(RunFolderError), atomic_folder(folder) as part:  # without a cache they are collected once more
        stacked: dict[str, Any] = {name: np.stack(pair) for name, pair in ranges.items()}
        np.savez(part / _FILE, **stacked)
    return ranges


def sandwich(elastic: Elastic) -> list[dict[str, int]]:
    """The smallest architecture and random ones, besides the largest; none if nothing is elastic."""
    if not any(len(knob.choices) > 1 for knob in elastic.knobs()):
        return []
    space = Space(elastic.knobs())
    drawn = [space.decode(g) for g in space.sample(np.random.default_rng(_SEED), NUM_RANDOM)]
    return [elastic.smallest(), *({k: int(v) for k, v in values.items()} for values in drawn)]


def _cut(bank: Bank, elastic: Elastic, architecture: Architecture, norms: NormEstimator | None) -> ov.Model:
    """A subnetwork of the float network after SmoothQuant."""
    model = bank.smoothed.clone()
    _narrow(model, bank.smoothed, elastic, architecture)
    if norms is not None:

        def cut_source() -> ov.Model:
            source = bank.source.clone()
            _narrow(source, bank.source, elastic, architecture)
            return source

        norms.correct(model, architecture, cut_source=cut_source)
    return model


def _narrow(model: ov.Model, whole: ov.Model, elastic: Elastic, architecture: Architecture) -> None:
    drop_blocks(model, elastic.skipped_runs(architecture))
    slice_channels(nodes_by_name(model), plan_channels(whole, elastic), architecture)
    model.validate_nodes_and_infer_types()


def average_ranges(found: Sequence[Ranges]) -> Ranges:
    """The mean range of every quantizer of the first, over those that have one of the same shape.

    Zero stays exactly representable: ranges are moved by at most half a step.
    """
    result = {}
    for name, (low, _) in found[0].items():
        pairs = [r[name] for r in found if name in r and r[name][0].shape == low.shape]
        result[name] = _with_zero(*(np.mean([p[side] for p in pairs], axis=0) for side in (0, 1)))
    return result


def _with_zero(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    step = np.maximum((high - low) / 255, np.finfo(np.float32).tiny)
    below = np.clip(np.round(-low / step), 0, 255)
    return (-below * step).astype(np.float32), ((255 - below) * step).astype(np.float32)


def with_ranges(model: ov.Model, ranges: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> ov.Model:
    """A clone of an INT8 network whose quantizers have other ranges; its weights are shared."""
    clone = model.clone()
    nodes = nodes_by_name(clone)
    for name, pair in ranges.items():
        for port in range(1, 5):
            old = nodes[name].input_value(port).get_node()
            tensor = ov.Tensor(ov.Type.f32, ov.Shape(old.get_output_shape(0)))
            tensor.data[...] = pair[(port - 1) % 2].reshape(old.get_output_shape(0))
            replace_constant(nodes[name].input(port), old, tensor)
    clone.validate_nodes_and_infer_types()
    return clone


def _read(path: Path) -> Ranges:
    with np.load(path) as file:
        return {name: (file[name][0], file[name][1]) for name in file.files}
