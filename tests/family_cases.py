"""The examples of every registered family, and of the documented one, with random and with trained weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from conftest import randomise

from qnas_ov.families import FAMILIES, Family, Supernet
from qnas_ov.space import Space
from qnas_ov.tasks import TASKS, Split
from qnas_ov.train import AccuracyJudge, Judge, SimilarityJudge, Trainer, TrainProgress, TrainSettings, estimated_norms

Arrays = dict[str, np.ndarray]
Example = tuple[str, str]

DOCS = Path(__file__).parents[1] / "docs" / "families.md"
_TRAINING = TrainSettings(epochs=8, batch_size=32, learning_rate=3e-3, num_random=0)
_TRAINED_ON = 384


@cache
def documented_family() -> Family:
    """The family in docs/families.md, whose code is run as it stands there; it does not stay registered."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    exec(compile(code, str(DOCS), "exec"), {"__name__": "convnext"})
    return FAMILIES._entries.pop("convnext")


KNOWN: Mapping[str, Family] = {**{name: FAMILIES.get(name) for name in FAMILIES}, "convnext": documented_family()}
EXAMPLES: list[Example] = [(name, example) for name, family in KNOWN.items() for example in family.examples]
FIRST: list[Example] = [(name, next(iter(family.examples))) for name, family in KNOWN.items()]
"""One example of each family."""


@dataclass(frozen=True)
class Case:
    """A supernet, samples to calibrate on, inputs to compare outputs on, and architectures.

    Attributes:
        family: Its family.
        supernet: Left as it is by every test.
        inputs: Some samples, in one batch.
        samples: Others.
    """

    family: Family
    supernet: Supernet
    inputs: Arrays
    samples: Arrays

    @property
    def calibration(self) -> dict[str, torch.Tensor]:
        return as_tensors(self.samples)

    def architectures(self, count: int) -> list[dict[str, int]]:
        """The smallest, and random ones."""
        elastic = self.supernet.elastic
        space = Space(elastic.knobs())
        drawn = [space.decode(genotype) for genotype in space.sample(np.random.default_rng(0), count)]
        return [elastic.smallest(), *({name: int(value) for name, value in values.items()} for values in drawn)]

    def torch_output(self, network: torch.nn.Module) -> np.ndarray:
        with torch.no_grad():
            found = network(**as_tensors(self.inputs))
        return (found if isinstance(found, torch.Tensor) else found[self.supernet.output]).numpy()


def as_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def random_case(example: Example) -> Case:
    """Weights that do not vanish, statistics of batch normalisations as after training; noise for inputs."""
    family = KNOWN[example[0]]
    supernet = randomise(family.build(copy.deepcopy(family.examples[example[1]]), seed=0))
    norm_inputs = as_tensors(_noise(supernet, 16, np.random.default_rng(1)))
    with estimated_norms(supernet.model, norm_inputs):
        settled = copy.deepcopy(supernet.model.state_dict())
    supernet.model.load_state_dict(settled)
    rng = np.random.default_rng(0)
    samples, inputs = _noise(supernet, 4, rng), _noise(supernet, 4, rng)
    return Case(family, supernet, inputs, samples)


@cache
def trained_case(example: Example) -> Case:
    """A supernet after some steps of `qnas-ov train` on real images or texts, which are its samples too."""
    family = KNOWN[example[0]]
    supernet = family.build(copy.deepcopy(family.examples[example[1]]), seed=0)
    data = real_data(supernet)
    train, calibration, held_out = (_part(data, range(start, len(data), 3)) for start in range(3))
    calibration, held_out = calibration.thinned(32), held_out.thinned(4)
    judge: Judge = AccuracyJudge(calibration)
    if supernet.num_classes is None:
        judge = SimilarityJudge(supernet, calibration)
    losses: list[float] = []

    def tell(state: TrainProgress) -> None:
        losses.append(state.loss)

    train = train.thinned(_TRAINED_ON)
    embeds = supernet.num_classes is None
    settings = replace(_TRAINING, teacher=embeds)  # random weights are a teacher of nothing but embeddings
    Trainer(supernet, train, settings, judge=judge, norm_samples=calibration.inputs, trained=False).run(tell)
    if not embeds:
        assert np.mean(losses[-8:]) < 0.95 * np.mean(losses[:4]), losses
    # The trained network keeps the masks of its training, and a copy of it would run through them.
    trained = family.build(copy.deepcopy(family.examples[example[1]]), seed=0)
    trained.model.load_state_dict(supernet.model.state_dict())
    return Case(family, trained, dict(held_out.inputs), dict(calibration.inputs))


def real_data(supernet: Supernet) -> Split:
    """Digits or docstrings in the shape of a network's inputs; for image with text, questions about digits."""
    shapes = {spec.name: spec.shape for spec in supernet.inputs}
    if "pixel_values" not in shapes:
        return _texts(supernet)
    images = _whole("digits")
    times = shapes["pixel_values"][1] // 8
    pixels = {"pixel_values": images.inputs["pixel_values"].repeat(times, axis=2).repeat(times, axis=3)}
    if "input_ids" not in shapes:
        return Split(pixels, images.labels)
    return ask_about_digits(Split(pixels, images.labels), shapes["input_ids"][0])


def ask_about_digits(images: Split, tokens: int) -> Split:
    """Images with a question, "above k?", as tokens 1, 3 + k, 2, and its answer, 0 or 1."""
    assert images.labels is not None
    numbers = np.arange(len(images)) % 9
    ids = np.zeros((len(images), tokens), dtype=np.int64)
    ids[:, 0], ids[:, 1], ids[:, 2] = 1, 3 + numbers, 2
    asked = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}
    return Split({**images.inputs, **asked}, (images.labels > numbers).astype(np.int64))


def _texts(supernet: Supernet) -> Split:
    """Docstrings, cut and hashed to the network's few tokens, and how long they are, in as many classes as it has."""
    texts = _whole("docstrings")
    length, vocabulary = supernet.inputs[0].shape[0], supernet.config["vocab_size"]
    inputs = {name: array[:, :length] for name, array in texts.inputs.items()}
    ids, words = inputs["input_ids"], inputs["attention_mask"].sum(1)
    inputs["input_ids"] = np.where(ids > 0, 1 + ids % (vocabulary - 1), 0)
    bounds = np.quantile(words, np.arange(1, supernet.num_classes or 1) / (supernet.num_classes or 1))
    return Split({spec.name: inputs[spec.name] for spec in supernet.inputs}, np.searchsorted(bounds, words))


@cache
def _whole(name: str) -> Split:
    """All samples of a registered data set but those for training."""
    task = TASKS.get(name)()
    parts = [task.validation, task.test]
    inputs = {key: np.concatenate([part.inputs[key] for part in parts]) for key in task.test.inputs}
    return Split(inputs, np.concatenate([part.labels for part in parts if part.labels is not None]))


def _part(split: Split, positions: np.ndarray | range) -> Split:
    inputs, labels = split.batch(np.asarray(positions))
    return Split(inputs, labels)


def _noise(supernet: Supernet, count: int, rng: np.random.Generator) -> Arrays:
    """Noise, random tokens, masks that end somewhere."""
    found = {}
    for spec in supernet.inputs:
        shape = (count, *spec.shape)
        if spec.dtype == "float32":
            found[spec.name] = rng.standard_normal(shape, dtype=np.float32)
        elif "mask" in spec.name:
            found[spec.name] = (np.arange(shape[1]) < rng.integers(2, shape[1] + 1, (count, 1))).astype(np.int64)
        else:
            found[spec.name] = rng.integers(0, 2 if "type" in spec.name else 40, shape)
    return found
