from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qnas_ov.core.errors import RunFolderError
from qnas_ov.core.files import write_json, write_text
from qnas_ov.core.fingerprint import digest_arrays, digest_file, digest_json


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot write"):
        write_text(tmp_path / "no" / "such" / "folder.txt", "x")
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert (tmp_path / "a.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_digests_depend_on_content_only(tmp_path: Path) -> None:
    a, b = np.arange(6.0), np.arange(6.0).reshape(2, 3)
    assert digest_arrays({"x": a, "y": b}) == digest_arrays({"y": b, "x": a})
    assert digest_arrays({"x": a}) != digest_arrays({"x": b})
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    (tmp_path / "f").write_bytes(b"abc")
    assert digest_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
