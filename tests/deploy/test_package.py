"""Packages are whole or not there, and optimum-intel loads them."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from qnas_ov.core.errors import RunFolderError
from qnas_ov.core.fingerprint import digest_file
from qnas_ov.deploy import write_package
from qnas_ov.families import FAMILIES, Supernet
from qnas_ov.ir import Bank, CandidateBuilder, save_ir
from qnas_ov.tasks import Task


@pytest.fixture
def saved(tiny_bank: Bank, tmp_path: Path) -> Path:
    return save_ir(tiny_bank.int8, tmp_path / "m.xml")


def test_the_manifest_digests_every_file(saved: Path, tmp_path: Path) -> None:
    target = write_package(tmp_path / "p", model=saved, config={"a": 1}, preprocessor={"b": 2}, manifest={"x": 3})
    manifest = json.loads((target / "manifest.json").read_text())
    assert manifest["x"] == 3
    assert set(manifest["files"]) == {
        "openvino_model.xml", "openvino_model.bin", "config.json", "preprocessor_config.json"
    }  # fmt: skip
    assert all(digest_file(target / name) == digest for name, digest in manifest["files"].items())


def test_the_same_input_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("p", "q"):
        samples = {"input.x": np.ones((2, 3)), "outputs": np.ones((2, 4)), "target": np.arange(2)}
        target = write_package(
            tmp_path / name, model=saved, config={}, preprocessor=None, manifest={"x": 3}, samples=samples
        )
        contents.append({p.name: p.read_bytes() for p in target.iterdir()})
    assert contents[0] == contents[1]


def test_a_full_disk_leaves_the_old_package(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_package(tmp_path / "p", model=saved, config={"old": True}, preprocessor=None, manifest={})

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(RunFolderError, match="cannot write .*No space left on device"):
        write_package(target, model=saved, config={"old": False}, preprocessor=None, manifest={})
    assert json.loads((target / "config.json").read_text()) == {"old": True}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.xml", "p"]


def test_optimum_intel_loads_a_package_and_classifies(
    tiny_supernet: Supernet, tiny_builder: CandidateBuilder, digits: Task, tmp_path: Path, rng: np.random.Generator
) -> None:
    from optimum.intel import OVModelForImageClassification

    candidate = tiny_builder.candidate(tiny_builder.space.sample(rng, 1)[0])
    model = tiny_builder.build(candidate)
    config, _ = FAMILIES.get("vit").subnetwork_config(tiny_supernet.config, candidate.architecture)
    path = save_ir(model, tmp_path / "m.xml")
    target = write_package(tmp_path / "p", model=path, config=config, preprocessor=None, manifest={})
    loaded = OVModelForImageClassification.from_pretrained(target, ov_config={"INFERENCE_PRECISION_HINT": "f32"})
    images = digits.test.inputs["pixel_values"][:20]
    logits = loaded(pixel_values=torch.from_numpy(images)).logits.numpy()

    import openvino as ov

    expected = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)[0]
    assert (logits.argmax(1) == expected.argmax(1)).all()
