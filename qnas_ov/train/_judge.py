"""How good the subnetworks of a supernet are, in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from qnas_ov.families import Architecture, Supernet
from qnas_ov.tasks import Split
from qnas_ov.train._masking import ElasticControl
from qnas_ov.train._norms import estimated_norms

_BATCH = 64
_BATCH_ONCE = 1024


class Judge(Protocol):
    """Scores the network as it is set now; higher is better."""

    name: str

    def __call__(self, supernet: Supernet) -> float:
        """The score."""
        ...


def predict(supernet: Supernet, split: Split) -> torch.Tensor:
    """The output for every sample of a split, on the CPU, for the network as it is set now."""
    small = sum(a[0].size for a in split.inputs.values()) <= _BATCH_ONCE
    size, device = (len(split) if small else _BATCH), _device(supernet)
    found = []
    with torch.inference_mode():
        for start in range(0, len(split), size):
            inputs = {s.name: split.inputs[s.name][start : start + size] for s in supernet.inputs}
            found.append(supernet({k: torch.from_numpy(a).to(device) for k, a in inputs.items()}).float().cpu())
    return torch.cat(found)


def evaluate_top1(supernet: Supernet, split: Split) -> float:
    """Share of `split` that the network, as it is set now, classifies right."""
    return float((predict(supernet, split).argmax(1).numpy() == split.labels).mean())


class AccuracyJudge:
    """Top-1 accuracy on a split."""

    name = "accuracy"

    def __init__(self, split: Split) -> None:
        self._split = split

    def __call__(self, supernet: Supernet) -> float:
        """The accuracy."""
        return evaluate_top1(supernet, self._split)


class SimilarityJudge:
    """Mean cosine to the embeddings that the supernet gave at first."""

    name = "cosine to the embeddings before"

    def __init__(self, supernet: Supernet, split: Split) -> None:
        self._split = split
        self._reference = predict(supernet, split)

    def __call__(self, supernet: Supernet) -> float:
        """The cosine."""
        return float(functional.cosine_similarity(predict(supernet, self._split), self._reference, dim=1).mean())


def score_subnetwork(
    supernet: Supernet,
    control: ElasticControl,
    architecture: Architecture,
    judge: Judge,
    norm_samples: Mapping[str, np.ndarray],
) -> float:
    """Scores a subnetwork; batch normalisations take the statistics of `norm_samples` first."""
    device = _device(supernet)
    inputs = {s.name: torch.from_numpy(norm_samples[s.name]).to(device) for s in supernet.inputs}
    with control.subnetwork(architecture), estimated_norms(supernet.model, inputs):
        return judge(supernet)


def _device(supernet: Supernet) -> torch.device:
    return next(supernet.model.parameters()).device
