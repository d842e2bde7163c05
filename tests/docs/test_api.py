"""The code of docs/api.md runs as it stands there, from top to bottom."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import vit_folder

import qnas_ov

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


QUICK = {"algorithm": "random", "front_size": 2, "latency_seconds": 0.02, "inference_precision": "f32"}


def in_little_time(call: Callable[..., Any], small: Path, **settings: Any) -> Callable[..., Any]:
    """The page names a real network and natural settings; to see that its calls work, a tiny one and few will do."""

    def called(model: Any, **given: Any) -> Any:
        if model == "digits-vit":
            model, given = str(small), {**given, "dataset": "digits"}
        return call(model, **{**given, **settings})

    return called


def test_the_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(blocks) == 6
    small = vit_folder(tmp_path / "digits-vit-small")
    monkeypatch.setattr(qnas_ov, "search", in_little_time(qnas_ov.search, small, **QUICK))
    monkeypatch.setattr(qnas_ov, "sensitivity", in_little_time(qnas_ov.sensitivity, small, samples=8))
    namespace: dict[str, object] = {"__name__": "api"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), namespace)
    assert (tmp_path / "served" / "config.json").is_file()
    assert (tmp_path / "winner" / "openvino_model.xml").is_file()
    assert (tmp_path / "runs" / "net" / "pareto.csv").is_file()
    assert "unknown model 'digit-vit'" in capsys.readouterr().out
