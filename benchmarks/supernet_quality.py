"""Subnetworks of trained supernets against the same architectures trained alone, for a small network of each family.

The images are scikit-learn's digits, the texts docstrings of Python's standard library. A network starts from random
weights, its largest form is trained first (the teacher), then the supernet as `qnas-ov train --teacher-epochs` does it.
The same is done without distillation, and without ordering by importance; training-free is the teacher with ordered
channels and no training of a supernet. Alone, an architecture is trained from random weights on the labels, for as many
steps as teacher and supernet had together. Accuracy is on validation and test samples together; batch normalisations
are estimated on calibration samples.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _common import Outcome, at_least, main, parser
from torch.nn import functional

from qnas_ov.families import FAMILIES, Architecture, Elastic, Supernet, extract_subnetwork, order_by_importance
from qnas_ov.space import Space
from qnas_ov.tasks import TASKS, Split, Task
from qnas_ov.terminal import TerminalProgress
from qnas_ov.train import AccuracyJudge, ElasticControl, Trainer, TrainSettings, score_subnetwork
from qnas_ov.train._optimizer import make_optimizer, set_rate

_ENCODER = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
_CHOICES = {"depth": [2, 3, 4], "heads": [2, 3, 4], "ffn": [96, 160, 256]}
_IMAGES = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "vit": ("digits", {
        "model_type": "vit", "architectures": ["ViTForImageClassification"], **_ENCODER, **_IMAGES, "qnas_ov": _CHOICES,
    }),
    "resnet": ("digits", {
        "model_type": "resnet", "architectures": ["ResNetForImageClassification"], "num_channels": 1, "num_labels": 10,
        "embedding_size": 32, "hidden_sizes": [32, 64], "depths": [3, 3], "layer_type": "basic",
        "qnas_ov": {"image_size": 8, "leave_out": [0, 1, 2], "width": [65, 80, 100], "mid": [57, 71, 100]},
    }),
    "beit3": ("digits", {
        "model_type": "beit3", "architectures": ["BEiT3ForImageClassification"], **_ENCODER, **_IMAGES,
        "qnas_ov": _CHOICES,
    }),
    "bert": ("docstrings", {
        "model_type": "bert", "architectures": ["BertForSequenceClassification"], **_ENCODER, "vocab_size": 2048,
        "max_position_embeddings": 64, "num_labels": 8, "qnas_ov": {**_CHOICES, "sequence_length": 32},
    }),
}  # fmt: skip
VARIANTS: Mapping[str, dict[str, Any]] = {
    "as published": {},
    "without distillation": {"teacher": False, "alpha": 1.0},
    "without ordering": {"order": False},
}


def options() -> argparse.ArgumentParser:
    found = parser(__doc__ or "")
    found.add_argument("--family", action="append", choices=list(NETWORKS), help="one family; again for more")
    return found


def run(arguments: argparse.Namespace) -> Outcome:
    quick, progress = arguments.quick, TerminalProgress()
    settings = TrainSettings(
        teacher_epochs=5 if quick else 30, epochs=7 if quick else 60, learning_rate=1e-3, batch_size=64, num_random=1
    )
    families = arguments.family or list(NETWORKS)
    alone = 1 if quick else 8
    rows, figures, goals = [], {}, {}
    progress.begin("training supernets and networks alone", len(families) * (len(VARIANTS) + alone + 2))
    for family in families:
        data, config = NETWORKS[family]
        bench = Bench(family, config, TASKS.get(data)(), settings, num_random=10 if quick else 50)
        found = {}
        for name, change in VARIANTS.items():
            found[name] = bench.train(change)
            progress.step(f"{family} {name}: smallest {found[name]['smallest']:.3f}")
        found["training-free"] = bench.train_free()
        chosen = {k: v for k, v in bench.architectures.items() if k in ("largest", "smallest") or int(k) < alone}
        singles = {}
        for key, architecture in chosen.items():
            singles[key] = bench.train_alone(architecture)
            progress.step(f"{family} {key} alone {singles[key]:.3f}")
        rows += [summary(family, name, scores) for name, scores in found.items()]
        rows.append(summary(family, "alone", singles))
        published = found["as published"]
        gap = 100 * np.mean([published[key] - singles[key] for key in singles])
        figures |= {
            f"{family}: points above training alone, mean of {len(singles)}": float(gap),
            f"{family}: points won by distillation, random subnetworks": won(published, found["without distillation"]),
            f"{family}: points won by ordering, random subnetworks": won(published, found["without ordering"]),
            f"{family}: points won by training the supernet, random": won(published, found["training-free"]),
        }
        goals[f"{family}: points above training alone"] = at_least(float(gap), 0.0)
    progress.end()
    return Outcome(figures, goals, {"accuracy on validation and test samples": rows})


class Bench:
    """One family's network on its data."""

    def __init__(self, family: str, config: dict[str, Any], task: Task, settings: TrainSettings, *, num_random: int):
        self._family, self._config, self._task, self._settings = FAMILIES.get(family), config, task, settings
        assert isinstance(task.train, Split)
        self._train = task.train
        parts = [task.validation, task.test]
        inputs = {name: np.concatenate([p.inputs[name] for p in parts]) for name in task.test.inputs}
        self._judge = AccuracyJudge(Split(inputs, np.concatenate([p.labels for p in parts])))
        elastic = self.build().elastic
        space = Space(elastic.knobs())
        drawn = [space.decode(g) for g in space.sample(np.random.default_rng(1), num_random)]
        self.architectures: dict[str, Architecture] = {
            "largest": elastic.largest(),
            "smallest": elastic.smallest(),
            **{str(i): {k: int(v) for k, v in values.items()} for i, values in enumerate(drawn)},
        }

    def build(self) -> Supernet:
        """The same random weights each time."""
        return self._family.build(copy.deepcopy(self._config), seed=0)

    def train(self, change: dict[str, Any]) -> dict[str, float]:
        """Accuracies of a supernet's subnetworks, and the seconds that its training took."""
        supernet, start = self.build(), time.monotonic()
        trainer = self._trainer(supernet, replace(self._settings, **change))
        trainer.run()
        return {**self._scores(supernet), "seconds": time.monotonic() - start}

    def train_free(self) -> dict[str, float]:
        """Accuracies of subnetworks of the largest network, ordered by importance."""
        supernet, start = self.build(), time.monotonic()
        self._train_plain(supernet, self._settings.teacher_epochs + self._settings.epochs)
        order_by_importance(supernet, self._samples())
        return {**self._scores(supernet), "seconds": time.monotonic() - start}

    def train_alone(self, architecture: Architecture) -> float:
        """Accuracy of an architecture that was trained by itself."""
        whole = self.build()
        alone = replace(whole, model=extract_subnetwork(whole, architecture), elastic=Elastic((), ()))
        self._train_plain(alone, self._settings.teacher_epochs + self._settings.epochs)
        return score_subnetwork(alone, ElasticControl(alone), {}, self._judge, self._task.calibration.inputs)

    def _trainer(self, supernet: Supernet, settings: TrainSettings) -> Trainer:
        return Trainer(supernet, self._train, settings, judge=self._judge, norm_samples=self._task.calibration.inputs)

    def _samples(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in self._task.calibration.inputs.items()}

    def _scores(self, supernet: Supernet) -> dict[str, float]:
        control, samples = ElasticControl(supernet), self._task.calibration.inputs
        return {
            key: score_subnetwork(supernet, control, architecture, self._judge, samples)
            for key, architecture in self.architectures.items()
        }

    def _train_plain(self, network: Supernet, epochs: int) -> None:
        """Cross entropy alone, with the optimizer and the schedule of supernets."""
        settings, generator = self._settings, torch.Generator().manual_seed(0)
        optimizer, size = make_optimizer(network.model, settings), settings.batch_size
        per_epoch = -(-len(self._train) // size)
        network.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for epoch in range(epochs):
                batches = torch.randperm(len(self._train), generator=generator).split(size)
                for number, batch in enumerate(batches):
                    found, labels = self._train.batch(batch.numpy())
                    set_rate(optimizer, settings, step=epoch * per_epoch + number, steps=epochs * per_epoch)
                    optimizer.zero_grad(set_to_none=True)
                    inputs = {spec.name: torch.from_numpy(found[spec.name]) for spec in network.inputs}
                    functional.cross_entropy(network(inputs), torch.from_numpy(labels)).backward()
                    torch.nn.utils.clip_grad_norm_(network.model.parameters(), 1.0)
                    optimizer.step()
        network.model.eval()


def summary(family: str, name: str, scores: Mapping[str, float]) -> dict[str, Any]:
    drawn = [score for key, score in scores.items() if key.isdigit()]
    row: dict[str, Any] = {"family": family, "training": name}
    row |= {key: scores[key] for key in ("largest", "smallest")}
    row |= {"random": len(drawn), "mean": float(np.mean(drawn)), "least": min(drawn), "best": max(drawn)}
    return row | ({"seconds": scores["seconds"]} if "seconds" in scores else {})


def won(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    return float(100 * np.mean([first[key] - second[key] for key in first if key.isdigit()]))


if __name__ == "__main__":
    main(options(), run)
