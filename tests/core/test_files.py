from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from qnas_ov.core.errors import InputError, RunFolderError
from qnas_ov.core.files import atomic_folder, check_place, write_json, write_text
from qnas_ov.core.fingerprint import digest_arrays, digest_file, digest_json


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot write"):
        write_text(tmp_path / "no" / "such" / "folder.txt", "x")
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert (tmp_path / "a.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_file_that_cannot_be_written_is_named_as_it_would_be(tmp_path: Path) -> None:
    with (
        pytest.raises(RunFolderError, match=f"cannot write {tmp_path / 'new' / 'no' / 'file'}:"),
        atomic_folder(tmp_path / "new") as part,
    ):
        write_text(part / "no" / "file", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_place_is_checked_before_the_work(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"must lie in a folder: '{tmp_path / 'file'}' is a file"):
        check_place(tmp_path / "file" / "new" / "run")


def test_a_folder_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "t"
    for text in ("old", "new"):
        with atomic_folder(target) as part:
            (part / "file").write_text(text)
        assert (target / "file").read_text() == text
    replace = os.replace

    def fail_the_second(source: Path, destination: Path) -> None:
        if Path(destination) == target and (Path(source) / "file").read_text() == "newest":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", fail_the_second)
    with pytest.raises(RunFolderError, match="Input/output error"), atomic_folder(target) as part:
        (part / "file").write_text("newest")
    assert (target / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_is_removed_and_what_another_one_writes_is_kept(tmp_path: Path) -> None:
    left = tmp_path / ".t-abcd1234"
    left.mkdir()
    (left / "half").write_text("")
    other = tmp_path / ".t-other-name"
    other.mkdir()
    with atomic_folder(tmp_path / "t") as part:
        assert not left.exists()
        with atomic_folder(tmp_path / "t") as second:
            assert part.exists()
            (second / "file").write_text("")
    assert other.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".t-other-name", "t"]


def test_digests_depend_on_content_only(tmp_path: Path) -> None:
    a, b = np.arange(6.0), np.arange(6.0).reshape(2, 3)
    assert digest_arrays({"x": a, "y": b}) == digest_arrays({"y": b, "x": a})
    assert digest_arrays({"x": a}) != digest_arrays({"x": b})
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    (tmp_path / "f").write_bytes(b"abc")
    assert digest_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
