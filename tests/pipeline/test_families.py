"""Every family from a configuration to verified packages: `train`, `search`, `verify` of a small network."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_cases import ask_about_digits

from qnas_ov.core.errors import InputError
from qnas_ov.families import FAMILIES
from qnas_ov.pipeline import TrainOptions, run_search, run_training, verify_package
from qnas_ov.pipeline._setup import resolve
from qnas_ov.tasks import TASKS, Split

QUICK = {
    "algorithm": "random", "evaluations": 8, "population": 4, "front_size": 2, "latency_seconds": 0.02,
    "final_rounds": 1, "inference_precision": "f32",
}  # fmt: skip
TRAINING = {"cycles": 1, "epochs": 4, "batch_size": 64, "num_random": 1, "learning_rate": 3e-3}
TEXTS: dict[str, Any] = {"vocab_size": 2048, "max_position_embeddings": 64, "num_labels": 8}
FROM_SCRATCH = TrainOptions(from_scratch=True)
NETWORKS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "vit": ("vit", "vit", {}, {}),
    "bert": ("bert", "bert", TEXTS, {"sequence_length": 32}),
    "resnet": ("resnet", "basic", {"depths": [1, 2]}, {"image_size": 8}),
    "beit3": ("beit3", "images", {}, {}),
    "image-text": ("beit3", "images-text", {}, {}),
}
"""Family, its example, and what differs from that in the configuration and in its choices."""


def write_config(network: str, folder: Path) -> Path:
    family, example, changes, choices = NETWORKS[network]
    config = {**copy.deepcopy(FAMILIES.get(family).examples[example]), **changes}
    config["qnas_ov"] |= choices
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_questions(path: Path) -> Path:
    """Digits with questions as tokens, as a file that says what to train on."""
    task = TASKS.get("digits")()
    assert isinstance(task.train, Split)
    parts = [task.train, task.validation, task.test]
    images = Split(
        {"pixel_values": np.concatenate([p.inputs["pixel_values"] for p in parts])},
        np.concatenate([p.labels for p in parts if p.labels is not None]),
    )
    asked = ask_about_digits(images, 12)
    np.savez(path, **asked.inputs, labels=asked.labels, train=np.arange(len(asked)) < len(task.train))
    return path


@pytest.mark.parametrize("network", NETWORKS)
def test_a_family_is_trained_searched_and_packaged(
    network: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if network != "resnet" and not request.config.getoption("--full"):
        pytest.skip("one of them takes the same way as another: --full takes them all")
    folder = write_config(network, tmp_path / network)
    data = {"dataset": "docstrings" if network == "bert" else "digits"}
    if network == "image-text":
        data = {"data": str(write_questions(tmp_path / "questions.npz"))}
    given = {"model": str(folder), **data}
    trained = run_training(given, out=tmp_path / "trained", settings=TRAINING, options=FROM_SCRATCH)
    chance = 0.55 if network == "image-text" else 0.3
    assert trained.largest > chance
    found = run_search({**QUICK, "model": str(trained.folder), **data}, out=tmp_path / "run")
    assert len(found.front) > 0
    assert found.front["accuracy_top1"].max() > chance
    for name in found.front["candidate"]:
        check = verify_package(found.folder / "deploy" / name)
        assert check.repeated is not None
        assert check.repeated.value == check.repeated.recorded > chance / 2


def test_an_npz_trains_a_network_of_images_and_texts(tmp_path: Path) -> None:
    folder, data = write_config("image-text", tmp_path / "net"), write_questions(tmp_path / "questions.npz")
    given = {"model": str(folder), "data": str(data)}
    settings = {**TRAINING, "epochs": 1, "num_random": 0}
    trained = run_training(given, out=tmp_path / "trained", settings=settings, options=FROM_SCRATCH)
    setup = resolve({"model": str(trained.folder), "data": str(data)})
    assert setup.task.train is not None
    with np.load(data) as arrays:
        assert len(setup.task.train) == arrays["train"].sum()
        unmarked = {name: arrays[name] for name in arrays.files if name != "train"}
    np.savez(data, **unmarked)
    with pytest.raises(InputError, match="no training split: .* an .npz may hold 'train'"):
        run_training(given, out=tmp_path / "again", settings=settings, options=FROM_SCRATCH)
