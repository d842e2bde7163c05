"""The command line: one sentence and exit code 2 for what a user gets wrong, JSON alone on stdout where asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from networks import outlier_network, save_samples

from qnas_ov import cli


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["qnas-ov", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


COMMANDS = [(), *((name,) for name in cli.cli.commands)]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert call(monkeypatch, *command, "--help") == 0
    assert "Example: qnas-ov" in capsys.readouterr().out


BAD = [
    (("search", "--model", "digit-vit"), "unknown model 'digit-vit'"),
    (("search", "--model", "digits-vit", "--device", "TPU"), "device 'TPU' is not available"),
    (("search",), "must name a model: add --model"),
    (("search", "--model", "digits-vit", "--objective", "speed"), "unknown objective 'speed'"),
    (("search", "--model", "digits-vit", "--evaluations", "3"), "'evaluations' in the options"),
    (("search", "--model", "digits-vit", "--evaluations", "x"), "'x' is not a valid integer"),
    (("search", "--model", "digits-vit", "--max-drop", "3"), "'max_drop' in the options"),
    (("search", "--recipe", "nowhere.yaml"), "cannot read the recipe 'nowhere.yaml'"),
    (("search", "--model", "digits-vit", "--resume"), "--resume needs --out"),
    (("search", "--modle", "x"), "No such option"),
    (("search", "--model", "digits-vit", "--out", "/dev/null/run"), "must lie in a folder: '/dev/null' is a file"),
    (
        ("sensitivity", "--model", "digits-vit", "--samples", "1"),
        "1 is not in the range x>=2; `qnas-ov sensitivity --help`",
    ),
    (("package", "nowhere", "--format", "ir", "--batch", "4", "--static"), "--static is --batch 1"),
    (("report",), "Missing argument 'RUN...'"),
    (("train", "--model", "no-vit", "--out", "x"), "unknown model 'no-vit'"),
    (("train", "--model", "digits-vit", "--out", ".", "--epochs", "1"), "--out '.' must not exist yet"),
    (("package", "nowhere", "--format", "ovms"), "'nowhere' is no finished run"),
    (("package", "nowhere"), "Missing option '--format'"),
    (("package", "nowhere", "--format", "onnx"), "'onnx' is not one of 'ovms', 'triton', 'kserve', 'optimum', 'ir'"),
    (("verify", "nowhere"), "'nowhere' is no package: it must hold manifest.json"),
    (("serch",), "No such command"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_wrong_usage_is_one_sentence_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_with_an_unknown_key_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("model: digits-vit\npopulaton: 10\n")
    assert call(monkeypatch, "search", "--recipe", str(recipe), "--out", str(tmp_path / "run")) == 2
    assert "unknown setting in" in (err := capsys.readouterr().err)
    assert "did you mean 'population'" in err
    assert not (tmp_path / "run").exists()


def test_models_and_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "models", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert "digits-vit" in {r["name"] for r in rows}
    assert call(monkeypatch, "models") == 0
    assert "digits-vit" in capsys.readouterr().out
    code = call(monkeypatch, "doctor", "--json")
    report = json.loads(capsys.readouterr().out)
    assert code == (1 if report["problems"] else 0)
    assert {"devices", "cpu flags", "AMX", "VNNI", "offline", "torchvision", "package openvino"} <= set(report["facts"])


def test_doctor_knows_offline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    call(monkeypatch, "doctor", "--json")
    assert json.loads(capsys.readouterr().out)["facts"]["offline"] is True


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    network = {
        "model": str(outlier_network(tmp_path / "model.xml")),
        "data": str(save_samples(tmp_path / "samples.npz")),
    }
    settings = {
        "algorithm": "random", "evaluations": 8, "population": 8, "front_size": 1, "final_rounds": 1,
        "latency_seconds": 0.02,
    }  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**network, **settings, "inference_precision": "f32"}))
    command = [sys.executable, "-m", "qnas_ov.cli", "search", "--recipe", str(recipe), "--json"]
    command += ["--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {"folder", "front", "baselines", "predictors"}
    assert document["front"]
    assert "searching with random" in done.stderr
    assert "\x1b[" not in done.stderr


def test_help_is_quick() -> None:
    """Help must not import torch or OpenVINO."""
    code = "import sys; import qnas_ov.cli; sys.exit(bool({'torch', 'openvino', 'nncf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
