from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_files import COLOURS, flat_folder, image_folder, save_image
from PIL import Image

from qnas_ov.core.errors import InputError
from qnas_ov.tasks import DataSource, ImagePreprocessing, encode_images, open_data

STEPS = ImagePreprocessing(3, (8, 8), "bilinear", None, 1 / 255, (0.0,) * 3, (1.0,) * 3)


def everything(source: DataSource, part: str) -> np.ndarray:
    return encode_images(source.parts[part], np.arange(source.parts[part].count), STEPS, (3, 8, 8), "float32")


def test_folders_are_classes(tmp_path: Path) -> None:
    source = open_data(image_folder(tmp_path / "images", per_class=3))
    assert (source.name, source.kind, list(source.parts)) == ("images", "images", ["all"])
    assert source.parts["all"].labels == ("blue",) * 3 + ("green",) * 3 + ("red",) * 3
    means = everything(source, "all").mean(axis=(2, 3)) * 255
    wanted = np.repeat([COLOURS[n] for n in ("blue", "green", "red")], 3, axis=0)
    np.testing.assert_allclose(means, wanted, atol=12)


def test_images_may_lie_deeper_and_other_files_do_not_count(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, per_class=2)
    rng = np.random.default_rng(0)
    save_image(folder / "red" / "more" / "x.JPG", (1, 2, 3), rng)
    (folder / "red" / "Thumbs.db").write_bytes(b"no image")
    (folder / "red" / ".hidden.png").write_bytes(b"no image")
    (folder / ".cache").mkdir()
    (folder / "README.txt").write_text("not an image either")
    assert open_data(folder).parts["all"].labels == ("blue",) * 2 + ("green",) * 2 + ("red",) * 3


@pytest.mark.parametrize("names", [("train", "val", "test"), ("training", "valid", "Testing")])
def test_folders_may_be_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    for count, name in enumerate(names, 1):
        image_folder(tmp_path / name, per_class=count)
    source = open_data(tmp_path)
    assert {n: p.count for n, p in source.parts.items()} == {"train": 3, "validation": 6, "test": 9}


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    source = open_data(flat_folder(tmp_path, 5))
    assert (source.labelled, source.parts["all"].count) == (False, 5)


def test_a_split_without_labels_is_left_out(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    flat_folder(tmp_path / "test")
    source = open_data(tmp_path)
    assert list(source.parts) == ["train"]
    assert "'test'" in source.notes[0]


def test_images_are_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "a.jpg", exif=exif)
    assert open_data(tmp_path).parts["all"].read(0).size == (4, 8)


def test_channels_may_stand_last(tmp_path: Path) -> None:
    records = open_data(flat_folder(tmp_path, 2)).parts["all"]
    first = encode_images(records, np.arange(2), STEPS, (3, 8, 8), "float32")
    last = encode_images(records, np.arange(2), STEPS, (8, 8, 3), "float32")
    assert np.array_equal(first.transpose(0, 2, 3, 1), last)


def write_empty_class(folder: Path) -> None:
    image_folder(folder, per_class=1)
    (folder / "violet").mkdir()


def write_class_without_images(folder: Path) -> None:
    image_folder(folder, per_class=1)
    (folder / "violet").mkdir()
    (folder / "violet" / "notes.txt").write_text("none yet")


def write_mixture(folder: Path) -> None:
    image_folder(folder, per_class=1)
    save_image(folder / "loose.png", (0, 0, 0), np.random.default_rng(0))


def write_two_validations(folder: Path) -> None:
    for name in ("train", "val", "validation"):
        image_folder(folder / name, per_class=1)


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda path: None, ["no such file or folder", "a folder of images"]),
    "empty": (Path.mkdir, ["holds no images and no table", "give a folder of images"]),
    "text only": (lambda path: [path.mkdir(), (path / "a.txt").write_text("a")], ["holds no images"]),
    "empty class": (write_empty_class, ["class folder", "violet' holds none"]),
    "class without images": (write_class_without_images, ["class folder", "violet' holds none"]),
    "mixture": (write_mixture, ["both", "'blue'", "'loose.png'"]),
    "two validations": (write_two_validations, ["more than one folder", "validation"]),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_folders_that_make_no_sense_are_refused(tmp_path: Path, case: str) -> None:
    write, words = BAD_FOLDERS[case]
    write(tmp_path / "mine")
    with pytest.raises(InputError) as caught:
        open_data(tmp_path / "mine")
    assert [w for w in [*words, "mine"] if w not in str(caught.value)] == [], caught.value
    assert "\n" not in str(caught.value)


def cut_short(path: Path) -> None:
    content = save_image(path, (1, 2, 3), np.random.default_rng(0)).read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "write", [lambda p: p.write_bytes(b""), lambda p: p.write_text("hello"), cut_short], ids=["empty", "text", "cut"]
)
def test_an_unreadable_image_is_named(tmp_path: Path, write: Callable[[Path], object]) -> None:
    write(tmp_path / "broken.png")
    source = open_data(tmp_path)
    with pytest.raises(InputError, match=r"cannot read the image '.*broken\.png': it is damaged") as caught:
        everything(source, "all")
    assert "\n" not in str(caught.value)


def test_an_image_that_does_not_fit_is_named(tmp_path: Path) -> None:
    source = open_data(flat_folder(tmp_path, 1))
    with pytest.raises(InputError, match=r"000\.png' must fit the network, which takes \(3, 9, 9\)"):
        encode_images(source.parts["all"], np.arange(1), STEPS, (3, 9, 9), "float32")


def test_a_deep_image_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png': images must have 8 bits"):
        everything(open_data(tmp_path), "all")


def test_columns_are_for_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave --text-column"):
        open_data(flat_folder(tmp_path), label_column="label")
