"""Hugging Face checkpoints: a local folder, a repository of the hub, or a registered model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qnas_ov.core.errors import InputError
from qnas_ov.core.hub import Snapshot, fetch_snapshot, is_cached, repository_files, ways_on
from qnas_ov.core.progress import Progress, Silent
from qnas_ov.deploy import read_companions
from qnas_ov.families import (
    MODELS,
    WEIGHTS_NAME,
    Architecture,
    DefaultData,
    Family,
    ModelEntry,
    Supernet,
    check_weights,
    find_family,
    order_by_importance,
    read_config,
    read_json,
)
from qnas_ov.ir import IR_NAME, OpenedNetwork, export_supernet, open_network
from qnas_ov.pipeline._source import BATCH, NO_ELASTIC, POLICY_ONLY, SourceNetwork, fixed_network

OTHER_MODELS = "another model of `qnas-ov models`"

KEPT = "The architecture is kept as it is (--policy-only): only its INT8/float policy is searched."
CODE_WAS_RUN = "The checkpoint's own Python code was run (--trust-remote-code)."

TRAINING_RECORD = "training.json"
"""What `qnas-ov train` leaves in its folder."""

_ORDERING_SAMPLES = 64
"""Means over all tokens or pixels of so many samples order channels as more of them do, and need no more memory."""

_FILES = ("*.json", WEIGHTS_NAME, "model-*.safetensors", "*.txt", "*.model", "*.spm", "README.md")
_IN_FOLDERS = tuple(f"*/{pattern}" for pattern in _FILES if pattern != "*.json")
_CODE = ("*.py",)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Repository:
    """A model on the Hugging Face hub; `revision` None is its main branch."""

    hub_id: str
    revision: str | None


class CheckpointSource:
    """A checkpoint: an elastic supernet if a family takes it, else a network whose policy alone is searched."""

    def __init__(
        self,
        *,
        name: str,
        given: str,
        place: Path | Repository,
        entry: ModelEntry | None = None,
        policy_only: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        """Nothing is read or fetched yet.

        Args:
            name: What it is called.
            given: What the user calls it.
            place: Its folder or repository.
            entry: What is registered of it.
            policy_only: Whether its architecture stays as it is.
            trust_remote_code: Whether its own code may run.
        """
        self.name = name
        self._given = given
        self._place = place
        self._entry = entry
        self._policy_only = policy_only
        self._trusted = trust_remote_code
        self._snapshot: Snapshot | None = None
        self._fixed: tuple[Mapping[str, tuple[int, ...]], OpenedNetwork] | None = None

    @property
    def data(self) -> DefaultData | None:
        """The data set of a registered model, also of one that was trained here."""
        if self._entry is not None:
            return self._entry.data
        name = _trained_from(self._place) if isinstance(self._place, Path) else None
        return MODELS.get(name).data if name is not None and name in MODELS else None

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        told = f"{self._entry.source}; " if self._entry is not None else ""
        if isinstance(self._place, Path):
            return told.removesuffix("; ") or f"folder {self._place.name}"
        commit = self._snapshot.commit if self._snapshot is not None else self._place.revision
        return f"{told}https://huggingface.co/{self._place.hub_id}" + (f" at {commit}" if commit else "")

    @property
    def license(self) -> str:
        """As it is registered, else as the model card of the checkpoint states it, else "unknown"."""
        return self._entry.weights.license if self._entry is not None else _stated_license(self.folder)

    def fetch(self, progress: Progress) -> str | None:
        """Fetches a repository of the hub, safetensors and descriptions only, and returns its commit.

        Raises:
            InputError: If it cannot be had, or holds no weights that are safe to read.
        """
        place = self._place
        if isinstance(place, Path):
            return None
        if self._snapshot is None:
            if not is_cached(place.hub_id, revision=place.revision, file=WEIGHTS_NAME):
                size = f", {self._entry.weights.size_bytes / 1e6:.0f} MB" if self._entry is not None else ""
                progress.say(f"fetching '{place.hub_id}' from the Hugging Face hub{size}")
            self._snapshot = fetch_snapshot(
                place.hub_id,
                kind="model",
                revision=place.revision,
                files=(*_FILES, *(_CODE if self._trusted else ())),
                leave=_IN_FOLDERS,
                others=OTHER_MODELS,
            )
            _check_whole(place.hub_id, self._snapshot)
        return self._snapshot.commit

    @property
    def shipped(self) -> bool:
        """Whether it came with this package: a supernet that was trained here."""
        return self._entry is not None and self._entry.weights.folder is not None

    @property
    def folder(self) -> Path:
        """Where its files lie; a repository of the hub is fetched first."""
        if isinstance(self._place, Path):
            return self._place
        self.fetch(Silent())
        assert self._snapshot is not None
        return self._snapshot.folder

    @cached_property
    def family(self) -> Family | None:
        """The family that takes it, None if there is none or the folder holds an exported network without weights."""
        folder = self.folder
        if (folder / IR_NAME).exists() and not (folder / WEIGHTS_NAME).exists():
            return None
        if self.known_family is not None:
            check_weights(folder)
        return self.known_family

    @property
    def known_family(self) -> Family | None:
        """The family that takes its configuration, whatever lies beside it."""
        return find_family(read_config(self.folder))

    @property
    def training(self) -> Mapping[str, Any]:
        """Settings that a registered model is trained with."""
        return {} if self._entry is None else self._entry.training

    def build_afresh(self, seed: int) -> None:
        """Takes random weights instead of its own, which need not be there."""
        assert self.known_family is not None
        self.take(self.known_family.build(read_config(self.folder), seed=seed))

    def take(self, supernet: Supernet) -> None:
        """Takes another supernet of its family instead of its own weights; nothing was opened yet."""
        self.__dict__["family"], self.__dict__["supernet"] = self.known_family, supernet

    @cached_property
    def supernet(self) -> Supernet:
        """The checkpoint with its elastic dimensions.

        Raises:
            InputError: If no family takes it, or its files do not fit each other.
        """
        if self.family is None:
            raise InputError(
                f"'{self._given}' has no known elastic dimensions: search its policy alone, with `qnas-ov search`"
            )
        return self.family.load(self.folder)

    @cached_property
    def _trained(self) -> bool:
        """Whether its weights were trained as a supernet, which says its `config.json`."""
        return self.supernet.ordered

    @cached_property
    def _elastic_network(self) -> SourceNetwork:
        supernet, notes = self.supernet, () if self._trained else (self._untrained(),)
        return SourceNetwork(
            export=lambda: export_supernet(supernet),
            elastic=supernet.elastic,
            inputs=supernet.inputs,
            num_classes=supernet.num_classes,
            labels=supernet.labels,
            transformer=supernet.transformer,
            batch_size=BATCH,
            preprocessor=supernet.preprocessor,
            notes=notes,
            companions=read_companions(self.folder),
            norms=supernet.read_batch_norms(),
        )

    def _untrained(self) -> str:
        return (
            f"The weights of '{self._given}' were not trained as a supernet: how much accuracy a smaller architecture "
            f"loses, the results tell; `qnas-ov train --model {self._given} --out NEW_FOLDER` wins it back."
        )

    def order_channels(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """Orders heads, neurons and channels of weights that were never a supernet's, by some of the samples."""
        if self.family is None or self._policy_only or self._trained or self.supernet.ordered:
            return False
        order_by_importance(self.supernet, {k: torch.from_numpy(v[:_ORDERING_SAMPLES]) for k, v in inputs.items()})
        self.__dict__.pop("_elastic_network", None)
        return True

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> SourceNetwork:
        """Loads it as a supernet and exports that, or exports it as it is.

        Raises:
            InputError: If its files are damaged, unsafe, or do not fit each other; if shapes are given for a supernet,
                which has its own; or if axes of another network are left open.
        """
        if self.family is not None:
            if shapes:
                raise InputError(f"--shape is for networks with dynamic axes: '{self._given}' has none; leave it out")
            network = self._elastic_network
            return replace(network, elastic=NO_ELASTIC, notes=(KEPT,), norms=()) if self._policy_only else network
        opened = self._opened(shapes)
        return fixed_network(opened, (POLICY_ONLY, *((CODE_WAS_RUN,) if opened.own_code else ())), self.folder)

    def _opened(self, shapes: Mapping[str, tuple[int, ...]]) -> OpenedNetwork:
        if self._fixed is None or self._fixed[0] != shapes:
            opened = open_network(self.folder, shapes, trust_remote_code=self._trusted)
            self._fixed = (dict(shapes), opened)
        return self._fixed[1]

    def package_config(self, architecture: Architecture) -> tuple[dict[str, Any] | None, str | None]:
        """The configuration of a subnetwork, and a note where its class cannot express it."""
        if self.family is None:
            return (None if self._fixed is None else self._fixed[1].config), None
        return self.family.subnetwork_config(self.supernet.config, architecture or self.supernet.elastic.largest())


def _check_whole(hub_id: str, snapshot: Snapshot) -> None:
    """Checks that a repository holds a checkpoint that is safe to read, and that the cache holds it whole."""
    folder = snapshot.folder
    wanted = ("config.json", WEIGHTS_NAME)
    index = folder / f"{WEIGHTS_NAME}.index.json"
    missing = [n for n in wanted if not (folder / n).is_file() and not (n == WEIGHTS_NAME and index.is_file())]
    if not missing:
        return
    files = repository_files(hub_id, kind="model", revision=snapshot.commit)
    if files is None:
        raise InputError(
            f"cannot use the model '{hub_id}': the cache holds it only in part ({missing[0]} is missing) and the hub "
            f"cannot be reached; {ways_on(OTHER_MODELS)}"
        )
    pickles = [name for name in files if name.endswith(_PICKLES)]
    if missing == [WEIGHTS_NAME] and pickles:
        raise InputError(
            f"cannot use the model '{hub_id}': its weights must be {WEIGHTS_NAME}, and '{pickles[0]}' is a pickle, "
            "which can run code and is never read; give a --revision that holds safetensors (its pull requests on the "
            "hub often do: refs/pr/1), save it with `save_pretrained(folder, safe_serialization=True)` and give that "
            "folder, or choose another model of `qnas-ov models`"
        )
    raise InputError(
        f"cannot use the model '{hub_id}': a checkpoint of transformers must hold {missing[0]}, and this one does not; "
        f"{ways_on(OTHER_MODELS)}"
    )


def _trained_from(folder: Path) -> str | None:
    """The model that a folder of `qnas-ov train` was trained from, if it says so and on that model's own data."""
    request = (read_json(folder / TRAINING_RECORD) or {}).get("request", {})
    given = request.get("given", {}) if isinstance(request, dict) else {}
    return None if given.get("dataset") or given.get("data") else given.get("model")


def _stated_license(folder: Path) -> str:
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    try:
        stated = (metadata_load(card) or {}) if card.is_file() else {}
    except Exception:  # a model card is free text: whatever its YAML raises, it states no licence
        return "unknown"
    found = stated.get("license_name") if stated.get("license") == "other" else stated.get("license")
    return str(found) if isinstance(found, str) and found else "unknown"
