"""Subnetworks of trained supernets against the same architectures trained alone, for a small network of each family.

The images are scikit-learn's digits, the texts docstrings of Python's standard library. A network starts from random
weights and is trained as it is first (the teacher), then as a supernet, as `qnas-ov train` does it; the same is done
without distillation, and without ordering by importance. Alone, an architecture is trained from random weights on the
labels, for as many steps as teacher and supernet had together. What ordering is worth to a network that was trained
already, the largest of these, is measured too: after a brief training as a supernet, and with none (training-free).

Accuracy is on validation and test samples together; batch normalisations are estimated on calibration samples. Points
won are means over the random subnetworks, or over the architectures that were trained alone; their 95% half-widths are
over the samples, and know nothing of another seed. Families can be run one by one into one JSON: with --family, what it
holds of the others by the same settings is kept.
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
from qnas_ov.train._judge import predict
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
        "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 48,
        "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 192, "vocab_size": 2048,
        "max_position_embeddings": 64, "num_labels": 8,
        "qnas_ov": {"depth": [1, 2, 3], "heads": [2, 3, 4], "ffn": [72, 120, 192], "sequence_length": 32},
    }),
}  # fmt: skip
BRIEF: dict[str, Any] = {"epochs": 4, "learning_rate": 1e-3}
VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "as published": ("teacher", {}),
    "without distillation": ("teacher", {"teacher": False, "alpha": 1.0}),
    "without ordering": ("teacher", {"order": False}),
    "brief": ("trained", BRIEF),
    "brief, without ordering": ("trained", {**BRIEF, "order": False}),
    "training-free": ("trained", {"epochs": 0}),
    "training-free, without ordering": ("trained", {"epochs": 0, "order": False}),
}
"""What a supernet starts from, and what differs in its training."""

ALONE = "alone"
CONTRASTS = {
    "points above training alone": ("as published", ALONE),
    "points won by distillation": ("as published", "without distillation"),
    "points won by ordering": ("as published", "without ordering"),
    "points won by ordering, brief training": ("brief", "brief, without ordering"),
    "points won by ordering, training-free": ("training-free", "training-free, without ordering"),
    "points above training-free": ("as published", "training-free"),
}
TABLE = "accuracy on validation and test samples"
Hits = Mapping[str, np.ndarray]
"""Which samples are classified right, by architecture: bool (n,)."""


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
    num_random, alone = (10, 1) if quick else (50, 2)
    stated = {"teacher epochs": settings.teacher_epochs, "epochs": settings.epochs, "brief epochs": BRIEF["epochs"]}
    stated |= {"batch": settings.batch_size, "learning rate": settings.learning_rate, "alone": alone + 2}
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    progress.begin("training supernets and networks alone", len(families) * (len(VARIANTS) + alone + 2))
    for family in families:
        data, config = NETWORKS[family]
        bench = Bench(family, config, TASKS.get(data)(), settings, num_random=num_random)
        measured = measure(bench, family, progress, alone=alone)
        rows, figures = rows + measured[0], figures | measured[1]
    progress.end()
    if arguments.family:
        others = kept(arguments.json, stated, families)
        rows, figures = rows + others[0], figures | others[1]
    rows.sort(key=lambda row: list(NETWORKS).index(row["family"]))
    figures = {name: figures[name] for family in NETWORKS for name in figures if name.startswith(f"{family}:")}
    first = next(iter(CONTRASTS))
    goals = {f"{f}: {first}": at_least(figures[f"{f}: {first}"], 0.0) for f in NETWORKS if f"{f}: {first}" in figures}
    return Outcome(figures, goals, {TABLE: rows, "settings": [stated]})


def kept(
    path: Path | None, stated: Mapping[str, Any], families: list[str]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows and figures that a JSON holds of other families, if it was made by the same settings."""
    document = json.loads(path.read_text()) if path is not None and path.is_file() else None
    if document is None or document["tables"]["settings"] != [stated]:
        return [], {}
    rows = [row for row in document["tables"][TABLE] if row["family"] not in families]
    return rows, {k: v for k, v in document["figures"].items() if k.split(":")[0] not in families}


def measure(
    bench: Bench, family: str, progress: TerminalProgress, *, alone: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A row for each training, and what is won between two of them."""
    found: dict[str, dict[str, np.ndarray]] = {ALONE: {}}
    start, rows = time.monotonic(), []
    for key in [k for k in bench.architectures if k in ("largest", "smallest") or int(k) < alone]:
        found[ALONE][key] = bench.train_alone(key)
        progress.step(f"{family} {key} alone {found[ALONE][key].mean():.3f}")
    rows.append(summary(family, ALONE, found[ALONE], seconds=time.monotonic() - start))
    for name in VARIANTS:
        start = time.monotonic()
        found[name] = bench.train(name)
        rows.append(summary(family, name, found[name], seconds=time.monotonic() - start))
        progress.step(f"{family} {name}: smallest {found[name]['smallest'].mean():.3f}")
    figures = {}
    for text, (first, second) in CONTRASTS.items():
        points, half = won(found[first], found[second], random=second != ALONE)
        figures |= {f"{family}: {text}": points, f"{family}: {text}, half-width": half}
    return rows, figures


def won(first: Hits, second: Hits, *, random: bool) -> tuple[float, float]:
    """Points of accuracy and their 95% half-width, over the random architectures or over those that both have."""
    keys = [key for key in first if key in second and (key.isdigit() or not random)]
    differences = np.sum([first[k].astype(int) - second[k] for k in keys], axis=0)
    count, scale = len(differences), 100 / len(keys)
    return float(scale * differences.sum() / count), float(1.96 * scale * differences.std(ddof=1) / count**0.5)


class Bench:
    """One family's network on its data."""

    def __init__(
        self, family: str, config: dict[str, Any], task: Task, settings: TrainSettings, *, num_random: int
    ) -> None:
        self._family, self._config, self._task, self._settings = FAMILIES.get(family), config, task, settings
        self._starts: dict[str, dict[str, torch.Tensor]] = {}
        assert isinstance(task.train, Split)
        self._train = task.train
        parts = [task.validation, task.test]
        inputs = {name: np.concatenate([p.inputs[name] for p in parts]) for name in task.test.inputs}
        self._held_out = Split(inputs, np.concatenate([p.labels for p in parts]))
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

    def train(self, name: str) -> dict[str, np.ndarray]:
        """What the subnetworks of a supernet get right after the training of that name."""
        start, change = VARIANTS[name]
        supernet = self.build()
        supernet.model.load_state_dict(self._start(start))
        samples = self._task.calibration.inputs
        if change.get("epochs") != 0:
            told = AccuracyJudge(self._task.calibration)  # of its progress, which nobody sees here: a few samples do
            settings = replace(self._settings, teacher_epochs=0, **change)
            Trainer(supernet, self._train, settings, judge=told, norm_samples=samples).run()
        elif change.get("order", True):
            order_by_importance(supernet, {n: torch.from_numpy(array) for n, array in samples.items()})
        control = ElasticControl(supernet)
        return {key: self._hits(supernet, control, architecture) for key, architecture in self.architectures.items()}

    def train_alone(self, key: str) -> np.ndarray:
        """What an architecture gets right that was trained by itself."""
        whole = self.build()
        alone = replace(whole, model=extract_subnetwork(whole, self.architectures[key]), elastic=Elastic((), ()))
        if key == "largest":
            alone.model.load_state_dict(self._start("trained"))
        else:
            self._train_plain(alone, self._settings.teacher_epochs + self._settings.epochs)
        return self._hits(alone, ElasticControl(alone), {})

    def _start(self, name: str) -> dict[str, torch.Tensor]:
        """Weights of the largest network after the teacher's epochs, or after as many as teacher and supernet have."""
        if name not in self._starts:
            network, settings = self.build(), self._settings
            self._train_plain(network, settings.teacher_epochs + (settings.epochs if name == "trained" else 0))
            self._starts[name] = copy.deepcopy(network.model.state_dict())
        return self._starts[name]

    def _hits(self, network: Supernet, control: ElasticControl, architecture: Architecture) -> np.ndarray:
        judge = HitJudge(self._held_out)
        score_subnetwork(network, control, architecture, judge, self._task.calibration.inputs)
        return judge.hits

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


class HitJudge:
    """Accuracy, and which samples are classified right."""

    name = "accuracy"

    def __init__(self, split: Split) -> None:
        self._split, self.hits = split, np.zeros(0, dtype=bool)

    def __call__(self, supernet: Supernet) -> float:
        self.hits = predict(supernet, self._split).argmax(1).numpy() == self._split.labels
        return float(self.hits.mean())


def summary(family: str, name: str, hits: Hits, *, seconds: float) -> dict[str, Any]:
    scores = {key: float(found.mean()) for key, found in hits.items()}
    drawn = [score for key, score in scores.items() if key.isdigit()]
    row: dict[str, Any] = {"family": family, "training": name}
    row |= {key: scores[key] for key in ("largest", "smallest")}
    return row | {
        "random": len(drawn), "mean": float(np.mean(drawn)), "least": min(drawn), "best": max(drawn),
        "seconds": round(seconds, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main(options(), run)
