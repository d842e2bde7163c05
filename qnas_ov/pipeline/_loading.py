"""Makes a task of images or texts, as the checkpoint of a network wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from qnas_ov.core.errors import InputError, OpenAxesError
from qnas_ov.families import InputSpec, read_json
from qnas_ov.ir import IR_NAME
from qnas_ov.pipeline._checkpoint import CheckpointSource
from qnas_ov.pipeline._metric import ignores_labels, pick_metric
from qnas_ov.pipeline._source import Source, SourceNetwork
from qnas_ov.recipe import Recipe, parse_shapes
from qnas_ov.tasks import (
    DataSource,
    Members,
    Situation,
    Split,
    Stream,
    Task,
    TextEncoder,
    as_numbers,
    draw_splits,
    encode_images,
    image_preprocessing,
    load_text_encoder,
    match_labels,
    read_scores,
)

SPLIT_SEED = 0
"""Samples are split in the same way whatever the seed of the search."""

_SPLITS = ("calibration", "validation", "test")
_HEADS = ("ForImageClassification", "ForSequenceClassification")

Texts = list[tuple[str, ...]]


@dataclass(frozen=True)
class _Labels:
    """What the labels of a data set mean to a network.

    Attributes:
        kind: "classes", "scores", or None if there are none or they are not asked for.
        values: By part of the data set: (n,).
        names: Names of the network's classes.
        notes: What was assumed.
    """

    kind: str | None
    values: Mapping[str, np.ndarray]
    names: tuple[str, ...]
    notes: tuple[str, ...]


class Loader:
    """Loads one data set for one network."""

    def __init__(self, source: Source, recipe: Recipe, data: DataSource, *, train: bool = False) -> None:
        """Nothing is read yet; `train` asks for what may be trained on too."""
        self._train = train
        self._source = source
        self._recipe = recipe
        self._data = data
        if source.folder is None:
            raise InputError(
                f"'{data.name}' must be prepared as a checkpoint says, and '{source.name}' is a module without one: "
                "give its inputs as an .npz, or save it as a Hugging Face folder"
            )
        self._folder = source.folder
        self._config: dict[str, Any] = read_json(self._folder / "config.json") or {}

    def load(self) -> tuple[Task, Recipe]:
        """The task, and the recipe with the shape of the network.

        Raises:
            QnasError: If the data do not fit the network.
        """
        return self._load_images() if self._data.kind == "images" else self._load_texts()

    @cached_property
    def _embeds(self) -> bool:
        """Whether the checkpoint has no head that scores classes."""
        architecture = str((self._config.get("architectures") or [""])[0])
        return bool(architecture) and not any(head in architecture for head in _HEADS)

    @cached_property
    def _members(self) -> dict[str, Members]:
        labelled = self._data.labelled
        numbers = as_numbers(self._data.labels()) if labelled else None
        scored = numbers is not None and bool((numbers % 1 != 0).any())  # scores have no classes to keep together
        classes = {
            name: np.unique(part.labels, return_inverse=True)[1]
            if part.labels is not None and not scored
            else np.zeros(part.count, dtype=np.int64)
            for name, part in self._data.parts.items()
        }
        return draw_splits(
            self._data.name, classes, labelled=labelled, max_samples=self._recipe.max_samples, seed=SPLIT_SEED
        )

    def _open(self, propose: Callable[[], str | None]) -> tuple[SourceNetwork, Recipe]:
        """The network with the shapes of the recipe, or with those that the data ask for where it leaves axes open."""
        shape = self._recipe.shape
        if shape is None and self._is_exported:
            shape = propose()
        try:
            network = self._source.open(parse_shapes(shape))
        except OpenAxesError:
            shape = shape or propose()
            if shape is None:
                raise
            network = self._source.open(parse_shapes(shape))
        return network, self._recipe.model_copy(update={"shape": shape})

    @property
    def _is_exported(self) -> bool:
        """Whether it is a checkpoint whose architecture is kept: an export takes seconds and leaves all axes open."""
        exported = (self._folder / IR_NAME).is_file()
        return isinstance(self._source, CheckpointSource) and self._source.family is None and not exported

    def _load_images(self) -> tuple[Task, Recipe]:
        if self._recipe.truncate:
            raise InputError("--truncate is for texts: leave it out")
        steps = image_preprocessing(self._folder)

        def propose() -> str | None:
            return None if steps.size is None else f"[1,{steps.channels},{steps.size[0]},{steps.size[1]}]"

        network, recipe = self._open(propose)
        if len(network.inputs) != 1 or len(network.inputs[0].shape) != 3:
            raise InputError(
                f"images fit a network of one input with three axes beside the batch: '{self._source.name}' takes "
                f"{_describe(network.inputs)}; give its inputs as an .npz"
            )
        (spec,) = network.inputs
        labels = self._match(network, pairs=False)
        inputs = {}
        for split in _SPLITS:
            members = self._members[split]
            records = self._data.parts[members.part]
            inputs[split] = {spec.name: encode_images(records, members.positions, steps, spec.shape, spec.dtype)}

        def read(positions: np.ndarray) -> dict[str, np.ndarray]:
            members = self._members["train"]
            chosen = members.positions[positions]
            return {spec.name: encode_images(self._data.parts[members.part], chosen, steps, spec.shape, spec.dtype)}

        task = self._task(network, labels, inputs, rows=1, notes=())
        return replace(task, train=self._stream(network, labels, read, rows=1)), recipe

    def _load_texts(self) -> tuple[Task, Recipe]:
        encoder = load_text_encoder(self._folder)
        texts = {split: self._read_texts(split) for split in (*_SPLITS, *(["train"] if self._trains else []))}
        pairs = len(texts["test"][0]) == 2

        def propose() -> str:
            given = {s: _separate(t) for s, t in texts.items()} if pairs and self._embeds else texts
            longest = max(max(encoder.lengths(t)) for t in given.values())
            return f"[1,{encoder.fitting_length(longest)}]"

        network, recipe = self._open(propose)
        length = self._token_length(network)
        labels = self._match(network, pairs=pairs)
        apart = pairs and (self._embeds or (labels.kind == "scores" and _lengths(network) != []))
        if labels.kind == "scores":
            self._check_scored(network, pairs=apart)
        if apart:
            texts = {split: _separate(found) for split, found in texts.items()}
        cut = self._check_lengths(encoder, texts, length, per_record=2 if apart else 1)
        inputs = {}
        for split in _SPLITS:
            arrays = encoder.encode(texts[split], length)
            inputs[split] = {i.name: np.ascontiguousarray(arrays[i.name], dtype=i.dtype) for i in network.inputs}
        rows = 2 if apart and labels.kind == "scores" else 1
        notes = (f"{cut} texts are longer than {length} tokens and are cut (--truncate).",) if cut else ()

        def read(positions: np.ndarray) -> dict[str, np.ndarray]:
            arrays = encoder.encode([texts["train"][i] for i in positions], length)
            return {i.name: np.ascontiguousarray(arrays[i.name], dtype=i.dtype) for i in network.inputs}

        task = self._task(network, labels, inputs, rows=rows, notes=notes)
        return replace(task, train=self._stream(network, labels, read, rows=rows)), recipe

    @property
    def _trains(self) -> bool:
        """Whether samples for training are asked for and there."""
        return self._train and "train" in self._members

    def _stream(
        self,
        network: SourceNetwork,
        labels: _Labels,
        read: Callable[[np.ndarray], dict[str, np.ndarray]],
        *,
        rows: int,
    ) -> Stream | None:
        """What may be trained on, decoded batch by batch; texts of a pair that stand apart are samples of their own."""
        if not self._trains:
            return None
        members = self._members["train"]
        found = labels.values[members.part][members.positions] if labels.kind == "classes" else None
        shapes = {i.name: i.shape for i in network.inputs}
        identity = f"{self._data.name} {self._data.origin}"
        return Stream(len(members) * rows, shapes, found, read, identity)

    def _read_texts(self, split: str) -> Texts:
        members = self._members[split]
        records = self._data.parts[members.part]
        return [records.read(int(i)) for i in members.positions]

    def _token_length(self, network: SourceNetwork) -> int:
        """How many tokens the network takes."""
        known = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
        shapes = {i.shape for i in network.inputs}
        names = {i.name for i in network.inputs}
        if not names <= set(known) or "input_ids" not in names or len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise InputError(
                f"texts fit a network whose inputs are among {', '.join(known)}, all of one length: "
                f"'{self._source.name}' takes {_describe(network.inputs)}; give its inputs as an .npz"
            )
        return int(next(iter(shapes))[0])

    def _check_lengths(self, encoder: TextEncoder, texts: Mapping[str, Texts], length: int, *, per_record: int) -> int:
        """How many texts are too long, if they may be cut.

        Raises:
            InputError: With the first one, if they may not.
        """
        cut = 0
        for split, found in texts.items():
            members = self._members[split]
            for row, tokens in enumerate(encoder.lengths(found)):
                if tokens <= length:
                    continue
                cut += 1
                if not self._recipe.truncate:
                    limited = encoder.positions is not None and length >= encoder.positions
                    where = self._data.parts[members.part].where(int(members.positions[row // per_record]))
                    raise InputError(
                        f"a text must fit the {length} {'positions' if limited else 'tokens'} of the network: {where} "
                        f"has {tokens} tokens; shorten it, {'' if limited else 'give a longer --shape, '}or cut long "
                        "texts with --truncate"
                    )
        return cut

    def _check_scored(self, network: SourceNetwork, *, pairs: bool) -> None:
        """Checks that a network gives what scores compare with: one number, or one vector for each of a pair."""
        lengths = _lengths(network)
        if lengths is None or len(lengths) > int(pairs):
            shape = network.model.output(0).get_partial_shape()
            raise InputError(
                f"scores need a network that gives one number for a sample, or one vector for each of a pair of texts: "
                f"'{self._source.name}' gives {shape}; give pairs of texts (--text-column twice), a network that pools "
                "its tokens, or labels that are classes"
            )

    def _match(self, network: SourceNetwork, *, pairs: bool) -> _Labels:
        """What the labels mean, where there are any and they count."""
        num_classes = None if self._embeds else network.num_classes
        plain = network.labels or tuple(str(i) for i in range(num_classes or 0))
        if not self._data.labelled or ignores_labels(self._recipe.metric):
            return _Labels(None, {}, plain, ())
        numbers = as_numbers(self._data.labels())
        scored = (pairs and self._embeds) or _lengths(network) == []
        if self._recipe.metric == "spearman" or (numbers is not None and (scored or bool((numbers % 1 != 0).any()))):
            return _Labels("scores", read_scores(self._data), (), ())
        if num_classes is None:
            raise InputError(
                f"labels that are classes need a network that scores classes, and '{self._source.name}' does not: give "
                "the data without labels, or choose a --metric that needs none (cosine, fidelity)"
            )
        matched = match_labels(self._data, network.labels or _stated_names(self._config, num_classes), num_classes)
        return _Labels("classes", matched.indices, matched.names, matched.notes)

    def _task(
        self,
        network: SourceNetwork,
        labels: _Labels,
        inputs: Mapping[str, Mapping[str, np.ndarray]],
        *,
        rows: int,
        notes: tuple[str, ...],
    ) -> Task:
        splits = {}
        for split in _SPLITS:
            members = self._members[split]
            found = labels.values[members.part][members.positions] if labels.kind is not None else None
            splits[split] = Split(inputs[split], None if found is None else np.repeat(found, rows), rows)
        situation = Situation(
            data=self._data.name,
            labels=labels.kind,
            num_classes=None if self._embeds else network.num_classes,
            pairs=rows == 2,
            embeds=self._embeds,
        )
        return Task(
            name=self._data.name,
            metric=pick_metric(self._recipe, situation, network, splits["validation"]),
            labels=labels.names,
            source=self._data.origin,
            notes=(self._describe_splits(), *self._data.notes, *labels.notes, *notes),
            calibration=splits["calibration"],
            validation=splits["validation"],
            test=splits["test"],
        )

    def _describe_splits(self) -> str:
        total = sum(part.count for part in self._data.parts.values())
        counts = {split: len(members) for split, members in self._members.items()}
        training = counts.pop("train", 0)
        told = ", ".join(f"{count} for {split}" for split, count in counts.items())
        kept = f"; {training} are kept for training" if training else ""
        return f"Of {total} samples in {self._data.name}: {told}{kept}."


def _stated_names(config: Mapping[str, Any], num_classes: int) -> tuple[str, ...]:
    """Names of all classes in order, if a configuration states them."""
    stated = config.get("id2label")
    if not isinstance(stated, dict) or set(stated) != {str(i) for i in range(num_classes)}:
        return ()
    return tuple(str(stated[str(i)]) for i in range(num_classes))


def _separate(pairs: Texts) -> Texts:
    return [(text,) for pair in pairs for text in pair]


def _lengths(network: SourceNetwork) -> list[int] | None:
    """Lengths of the axes of the first output beside the batch, but for those of 1; None if one is open."""
    shape = network.model.output(0).get_partial_shape()
    if shape.rank.is_dynamic or any(d.is_dynamic for d in list(shape)[1:]):
        return None
    return [d.get_length() for d in list(shape)[1:] if d.get_length() > 1]


def _describe(inputs: Sequence[InputSpec]) -> str:
    return ", ".join(f"'{i.name}' {list(i.shape)}" for i in inputs)
