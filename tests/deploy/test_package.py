"""A candidate's package is whole or not there, and holds what came with its network."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from qnas_ov.core.errors import RunFolderError
from qnas_ov.core.fingerprint import digest_file
from qnas_ov.deploy import read_companions, read_manifest, write_package
from qnas_ov.ir import Bank, save_ir


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


def test_companions_come_along(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    files = {"vocab.txt": b"a\nb\n", "tokenizer.json": b"{}", "processor_config.json": b"{}"}
    for name, content in {**files, "pytorch_model.bin": b"pickle", "modeling.py": b"code"}.items():
        (tmp_path / "hf" / name).write_bytes(content)
    companions = read_companions(tmp_path / "hf")
    assert companions == files
    assert read_companions(tmp_path / "hf" / "vocab.txt") == {}
    target = write_package(
        tmp_path / "p", model=saved, config=None, preprocessor=None, manifest={}, companions=companions
    )
    assert set(read_manifest(target)["files"]) == {"openvino_model.xml", "openvino_model.bin", *files}
