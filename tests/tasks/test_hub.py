from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from data_files import COLOURS, image_folder

from qnas_ov.core.errors import InputError
from qnas_ov.tasks import DataSource, open_data, open_hub

TEXTS = {"sentence": ["a", "b", "c"], "label": [1, 0, 1]}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = datasets
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(found.config, "HF_HUB_OFFLINE", True)
    found.disable_progress_bars()
    return found


def labelled(library: Any, names: list[str]) -> Any:
    features = library.Features({"sentence": library.Value("string"), "label": library.ClassLabel(names=names)})
    return library.Dataset.from_dict(TEXTS, features=features)


def contents(source: DataSource, part: str) -> list[Any]:
    return [source.parts[part].read(i) for i in range(source.parts[part].count)]


def test_a_saved_data_set(library: Any, tmp_path: Path) -> None:
    labelled(library, ["no", "yes"]).save_to_disk(str(tmp_path / "saved"))
    source = open_data(tmp_path / "saved")
    assert contents(source, "all") == [("a",), ("b",), ("c",)]
    assert source.parts["all"].labels == ("yes", "no", "yes")
    assert source.class_names == ("no", "yes")
    assert source.name == "saved"


def test_saved_splits(library: Any, tmp_path: Path) -> None:
    splits = {"train": labelled(library, ["no", "yes"]), "test": labelled(library, ["no", "yes"])}
    hidden = library.Dataset.from_dict({**TEXTS, "label": [-1] * 3}, features=splits["train"].features)
    library.DatasetDict({**splits, "validation": hidden, "unsupervised": hidden}).save_to_disk(str(tmp_path / "saved"))
    source = open_data(tmp_path / "saved")
    assert list(source.parts) == ["train", "test"]
    assert [n for n in source.notes if "'unsupervised'" in n or "'validation'" in n] == list(source.notes)


def test_saved_images(library: Any, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "images", per_class=2)
    paths = [str(p) for p in sorted(folder.rglob("*.png"))]
    features = library.Features({"picture": library.Image(), "label": library.ClassLabel(names=sorted(COLOURS))})
    table = library.Dataset.from_dict({"picture": paths, "label": [0, 0, 1, 1, 2, 2]}, features=features)
    table.save_to_disk(str(tmp_path / "saved"))
    source = open_data(tmp_path / "saved")
    assert source.kind == "images"
    assert source.parts["all"].labels == ("blue",) * 2 + ("green",) * 2 + ("red",) * 2
    red = np.asarray(source.parts["all"].read(4)).mean(axis=(0, 1))
    np.testing.assert_allclose(red, COLOURS["red"], atol=8)
    with pytest.raises(InputError, match="holds images in its column 'picture'"):
        open_data(tmp_path / "saved", text_columns=("label",))


def test_parquet(library: Any, tmp_path: Path) -> None:
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        labelled(library, ["no", "yes"]).to_parquet(str(folder / f"{name}.parquet"))
    source = open_data(tmp_path / "set")
    assert set(source.parts) == {"train", "test"}
    assert source.parts["test"].labels == ("yes", "no", "yes")
    single = open_data(folder / "train-00000-of-00001.parquet")
    assert contents(single, "all") == [("a",), ("b",), ("c",)]


def test_columns_of_a_saved_data_set(library: Any, tmp_path: Path) -> None:
    library.Dataset.from_dict({"one": ["a", None], "two": ["b", "c"]}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(InputError, match="one, two; name the one with --text-column"):
        open_data(tmp_path / "saved")
    source = open_data(tmp_path / "saved", text_columns=("one",))
    assert not source.labelled
    assert "one, two" in source.notes[0]
    with pytest.raises(InputError, match="row 2 of .*holds nothing"):
        contents(source, "all")


def test_a_damaged_data_set_is_refused(library: Any, tmp_path: Path) -> None:
    labelled(library, ["no", "yes"]).save_to_disk(str(tmp_path / "saved"))
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot read .*saved' as a Hugging Face data set") as caught:
        open_data(tmp_path / "saved")
    assert "\n" not in str(caught.value)


def test_offline_there_are_three_ways_on(library: Any) -> None:
    with pytest.raises(InputError) as caught:
        open_hub("nobody/nothing")
    message = str(caught.value)
    assert "'nobody/nothing' from the hub (it cannot be reached, and the cache does not hold the set)" in message
    assert [w for w in ("--data", "HF_HOME", "another --dataset") if w not in message] == []
    assert "\n" not in message


def test_classes_of_another_numbering(library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten classes out of a thousand, for instance."""
    monkeypatch.setattr(library, "load_dataset", lambda *args, **kwargs: labelled(library, ["no", "yes"]))
    source = open_hub("some/set", classes=(7, 9))
    assert source.parts["all"].labels == ("9", "7", "9")
