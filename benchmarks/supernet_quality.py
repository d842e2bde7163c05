"""Subnetworks of trained supernets against the same architectures trained alone, for a small network of each family.

The images are scikit-learn's digits, the texts docstrings of Python's standard library. A network starts from random
weights, its largest form is trained first (the teacher), then the supernet as `qnas-ov train --teacher-epochs` does it.
The same is done without distillation, and without ordering by importance; training-free is the teacher with ordered
channels and no training of a supernet. Alone, an architecture is trained from random weights on the labels, for as many
steps as teacher and supernet had together. Accuracy is on validation and test samples together; batch normalisations
are estimated on calibration samples.

Families can be run one by one into one JSON: with --family, what it holds of the others by the same settings is kept.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
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
        "model_type": "bert", "architectures": ["BertForSequenceClassification"], **_ENCODER, "num_hidden_layers": 3,
        "vocab_size": 2048, "max_position_embeddings": 64, "num_labels": 8,
        "qnas_ov": {**_CHOICES, "depth": [1, 2, 3], "sequence_length": 32},
    }),
}  # fmt: skip
VARIANTS: Mapping[str, dict[str, Any]] = {
    "as published": {},
    "without distillation": {"teacher": False, "alpha": 1.0},
    "without ordering": {"order": False},
}
TABLE = "accuracy on validation and test samples; 'above alone' is in points, over the architectures trained alone"
ABOVE = "points above training alone"


def options() -> argparse.ArgumentParser:
    found = parser(__doc__ or "")
    found.add_argument("--family", action="append", choices=list(NETWORKS), help="one family; again for more")
    return found


def run(arguments: argparse.Namespace) -> Outcome:
    quick, progress = arguments.quick, TerminalProgress()
    settings = TrainSettings(
        teacher_epochs=4 if quick else 20, epochs=5 if quick else 40, learning_rate=3e-3, batch_size=64, num_random=1
    )
    families = arguments.family or list(NETWORKS)
    num_random, alone = (10, 1) if quick else (50, 4)
    stated = {"teacher epochs": settings.teacher_epochs, "epochs": settings.epochs, "batch": settings.batch_size}
    stated |= {"learning rate": settings.learning_rate, "random": num_random, "alone": alone + 2}
    rows = kept_rows(arguments.json, stated, families) if arguments.family else []
    progress.begin("training supernets and networks alone", len(families) * (len(VARIANTS) + alone + 3))
    for family in families:
        data, config = NETWORKS[family]
        bench = Bench(family, config, TASKS.get(data)(), settings, num_random=num_random)
        rows += measure(bench, family, progress, alone=alone)
    progress.end()
    rows.sort(key=lambda row: list(NETWORKS).index(row["family"]))
    figures = {name: value for family in NETWORKS for name, value in figures_of(family, rows).items()}
    goals = {name: at_least(value, 0.0) for name, value in figures.items() if name.endswith(ABOVE)}
    return Outcome(figures, goals, {TABLE: rows, "settings": [stated]})


def kept_rows(path: Path | None, stated: Mapping[str, Any], families: list[str]) -> list[dict[str, Any]]:
    """What a JSON holds of other families, if it was made by the same settings."""
    if path is None or not path.is_file():
        return []
    tables = json.loads(path.read_text())["tables"]
    if tables["settings"] != [stated]:
        return []
    return [row for row in tables[TABLE] if row["family"] not in families]


def measure(bench: Bench, family: str, progress: TerminalProgress, *, alone: int) -> list[dict[str, Any]]:
    """A row for each training of a family's supernet, and one for the architectures that are trained alone."""
    chosen = [k for k in bench.architectures if k in ("largest", "smallest") or int(k) < alone]
    start, singles = time.monotonic(), {}
    for key in chosen:
        singles[key] = bench.train_alone(bench.architectures[key])
        progress.step(f"{family} {key} alone {singles[key]:.3f}")
    rows = [summary(family, "alone", singles, seconds=time.monotonic() - start)]
    for name, change in {**VARIANTS, "training-free": None}.items():
        start = time.monotonic()
        found = bench.train_free() if change is None else bench.train(change)
        row = summary(family, name, found, seconds=time.monotonic() - start)
        rows.append({**row, "above alone": float(100 * np.mean([found[k] - singles[k] for k in singles]))})
        progress.step(f"{family} {name}: smallest {found['smallest']:.3f}")
    return rows


def figures_of(family: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """In points of accuracy; nothing for a family that was not run."""
    found = {row["training"]: row for row in rows if row["family"] == family}
    if not found:
        return {}
    published = found.pop("as published")
    figures = {f"{family}: {ABOVE}": published["above alone"]}
    for name, row in found.items():
        if name != "alone":
            figures[f"{family}: points above {name}, mean of random ones"] = 100 * (published["mean"] - row["mean"])
    return figures


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
        """Accuracies of a supernet's subnetworks."""
        supernet = self.build()
        self._trainer(supernet, replace(self._settings, **change)).run()
        return self._scores(supernet)

    def train_free(self) -> dict[str, float]:
        """Accuracies of subnetworks of the largest network, ordered by importance."""
        supernet = self.build()
        self._train_plain(supernet, self._settings.teacher_epochs + self._settings.epochs)
        order_by_importance(supernet, self._samples())
        return self._scores(supernet)

    def train_alone(self, architecture: Architecture) -> float:
        """Accuracy of an architecture that was trained by itself."""
        whole = self.build()
        alone = replace(whole, model=extract_subnetwork(whole, architecture), elastic=Elastic((), ()))
        self._train_plain(alone, self._settings.teacher_epochs + self._settings.epochs)
        return score_subnetwork(alone, ElasticControl(alone), {}, self._judge, self._task.calibration.inputs)

    def _trainer(self, supernet: Supernet, settings: TrainSettings) -> Trainer:
        told = AccuracyJudge(self._task.calibration)  # of its progress, which nobody sees here: a few samples do
        return Trainer(supernet, self._train, settings, judge=told, norm_samples=self._task.calibration.inputs)

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


def summary(family: str, name: str, scores: Mapping[str, float], *, seconds: float) -> dict[str, Any]:
    drawn = [score for key, score in scores.items() if key.isdigit()]
    row: dict[str, Any] = {"family": family, "training": name}
    row |= {key: scores[key] for key in ("largest", "smallest")}
    return row | {
        "random": len(drawn), "mean": float(np.mean(drawn)), "least": min(drawn), "best": max(drawn),
        "seconds": round(seconds, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main(options(), run)
