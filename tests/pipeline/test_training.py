"""`train`: from any checkpoint and the user's data to a folder that `search` takes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import change_config, vit_folder
from PIL import Image
from safetensors.torch import load_file

from qnas_ov.core.errors import InputError, RunFolderError
from qnas_ov.pipeline import TrainOptions, run_training
from qnas_ov.pipeline._training import FROM_SCRATCH, _search_command
from qnas_ov.tasks import TASKS

FEW = {"epochs": 1, "batch_size": 128}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vit_folder(tmp_path_factory.mktemp("models") / "vit")


def digits_folder(folder: Path, count: int = 200) -> Path:
    """Digits as images in folders by class."""
    split = TASKS.get("digits")().validation.thinned(count)
    assert split.labels is not None
    for number, (pixels, label) in enumerate(zip(split.inputs["pixel_values"], split.labels, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(((pixels[0] + 1) * 127.5).astype(np.uint8)).save(place / f"{number}.png")
    return folder


def test_a_users_images_train_a_supernet(tmp_path: Path) -> None:
    model = vit_folder(tmp_path / "vit")
    steps: dict[str, Any] = {"size": {"height": 8, "width": 8}, "image_mean": [0.5], "image_std": [0.5]}
    steps["image_processor_type"] = "ViTImageProcessor"
    (model / "preprocessor_config.json").write_text(json.dumps(steps))
    data = digits_folder(tmp_path / "images")
    given = {"model": str(model), "data": str(data)}
    result = run_training(given, out=tmp_path / "trained", settings={**FEW, "num_random": 1})
    record = json.loads((result.folder / "training.json").read_text())
    assert record["result"]["score"] == "accuracy"
    assert result.command == f"qnas-ov search --model {result.folder} --data {data}"
    assert not (result.folder / "checkpoint.safetensors").exists()
    assert not (result.folder / "teacher.safetensors").exists()
    assert (result.folder / "preprocessor_config.json").is_file()
    assert json.loads((result.folder / "config.json").read_text())["qnas_ov"]["ordered"]


def test_what_was_said_of_the_data_is_said_again() -> None:
    given = {"model": "m", "data": "my texts.csv", "text_column": ("a", "b"), "truncate": True, "label_column": None}
    words = "--data 'my texts.csv' --text-column a --text-column b --truncate"
    assert _search_command(Path("out"), given) == f"qnas-ov search --model out {words}"


def test_a_killed_training_is_resumed_to_the_same_weights(vit: Path, tmp_path: Path) -> None:
    given = {"model": str(vit), "dataset": "digits"}
    settings = {"epochs": 2, "batch_size": 64}
    expected = run_training(given, out=tmp_path / "whole", settings=settings)
    code = (
        "from pathlib import Path; from qnas_ov.pipeline import TrainOptions, run_training; "
        f"run_training({given!r}, out=Path({str(tmp_path / 'killed')!r}), settings={settings!r}, "
        "options=TrainOptions(checkpoint_seconds=0))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    again = run_training({}, out=tmp_path / "killed", resume=True)
    assert (again.largest, again.smallest, again.random_mean) == (
        expected.largest, expected.smallest, expected.random_mean
    )  # fmt: skip
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(bool((first[name] == second[name]).all()) for name in first)
    assert run_training({}, out=tmp_path / "killed", resume=True) == again  # finished: nothing is done
    with pytest.raises(InputError, match="epochs was 2 and is 3; leave it out"):
        run_training({}, out=tmp_path / "killed", settings={"epochs": 3}, resume=True)
    with pytest.raises(InputError, match="must not exist yet: choose a new folder, or add --resume"):
        run_training(given, out=tmp_path / "killed")


def test_a_training_of_other_weights_is_not_resumed(vit: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_training({"model": str(vit), "dataset": "digits"}, out=out, settings=FEW)
    record = json.loads((out / "training.json").read_text())
    del record["result"]
    (out / "training.json").write_text(json.dumps({**record, "inputs": "other"}))
    with pytest.raises(RunFolderError, match="was begun with another network or data"):
        run_training({}, out=out, resume=True)
    (out / "training.json").unlink()
    with pytest.raises(InputError, match="holds no training.json"):
        run_training({}, out=out, resume=True)


def test_from_scratch_needs_no_weights(tmp_path: Path) -> None:
    folder = vit_folder(tmp_path / "vit")
    (folder / "model.safetensors").unlink()
    given: dict[str, Any] = {"model": str(folder), "dataset": "digits"}
    with pytest.raises(InputError, match="neither is there"):
        run_training(given, out=tmp_path / "out")
    settings = {**FEW, "cycles": 1, "num_random": 0}
    run_training(given, out=tmp_path / "out", settings=settings, options=TrainOptions(from_scratch=True))
    assert json.loads((tmp_path / "out" / "training.json").read_text())["request"]["options"]["from_scratch"]
    assert FROM_SCRATCH["teacher"] is False
    with pytest.raises(InputError, match="leave one out"):
        run_training(given, out=tmp_path / "b", options=TrainOptions(from_scratch=True, init=folder))


def test_what_does_not_fit_is_said_before_anything_is_written(vit: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": str(vit), "dataset": "digits"}
    with pytest.raises(InputError, match=r"needs about .* GB and .* GB are free; lower --batch-size"):
        run_training(given, out=tmp_path / "out", settings={"batch_size": 10**9})
    number = change_config(vit_folder(tmp_path / "one", num_labels=1), problem_type="regression")
    with pytest.raises(InputError, match="must have the classes of|gives a number"):
        run_training({"model": str(number), "dataset": "digits"}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
