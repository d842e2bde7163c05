"""Hugging Face data sets: saved with `save_to_disk`, as files of parquet, or by their id on the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.tasks.sources import DataSource, Records, drop_unlabelled
from qnas_ov.tasks.splits import PART_NAMES
from qnas_ov.tasks.tables import check_texts, choose_columns, no_labels, read_labels

_SAVED = ("dataset_dict.json", "state.json")


def is_saved_data_set(folder: Path) -> bool:
    """Whether a folder was written by `datasets.save_to_disk`."""
    return any((folder / name).is_file() for name in _SAVED)


def holds_parquet(path: Path) -> bool:
    """Whether it is a parquet file, or a folder with some."""
    return path.suffix == ".parquet" if path.is_file() else any(path.rglob("*.parquet"))


def open_saved(path: Path, *, text_columns: Sequence[str] = (), label_column: str | None = None) -> DataSource:
    """Opens a folder that `datasets.save_to_disk` wrote, a parquet file, or a folder of parquet files.

    Raises:
        InputError: If it is damaged, or its columns do not serve.
    """
    library = _library()
    try:
        with _quiet():
            if path.is_dir() and is_saved_data_set(path):
                found = library.load_from_disk(str(path))
            elif path.is_dir():
                found = library.load_dataset("parquet", data_dir=str(path))
            else:
                found = library.load_dataset("parquet", data_files=str(path))
    except Exception as error:  # pyarrow, fsspec and datasets each have errors of their own
        raise InputError(
            f"cannot read '{path}' as a Hugging Face data set: {_reason(error)}; save it again with save_to_disk"
        ) from error
    return _open(found, path.name, f"data set {path.name}", f"'{path}'", text_columns, label_column)


def open_hub(
    name: str,
    *,
    text_columns: Sequence[str] = (),
    label_column: str | None = None,
    revision: str | None = None,
    split: str | None = None,
    classes: Sequence[int] = (),
) -> DataSource:
    """Opens a data set of the hub, or the copy of it in the local cache.

    Args:
        name: "owner/name", or "owner/name:configuration".
        text_columns: One or two columns; guessed from usual names if left out.
        label_column: Likewise.
        revision: A branch, tag or commit; None is the main branch.
        split: The one split to take, None for all.
        classes: Class of the network by class of the data set; () where the names of both agree.

    Raises:
        InputError: If it cannot be reached, is gated, or its columns do not serve.
    """
    library = _library()
    repository, _, configuration = name.partition(":")
    try:
        with _quiet():
            found = library.load_dataset(repository, configuration or None, revision=revision, split=split)
    except Exception as error:  # every way in which a network, a hub or a file can fail
        raise InputError(
            f"cannot get the data set '{name}' from the hub ({_hub_reason(error)}): give a local folder or file with "
            "--data, set HF_HOME to a cache that holds it, or choose another --dataset"
        ) from error
    source = _open(found, name, f"Hugging Face data set {name}", f"the data set '{name}'", text_columns, label_column)
    return _renumbered(source, classes) if classes else source


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what the libraries log about a failure: the error that follows says it."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _hub_reason(error: Exception) -> str:
    """Why a data set is not to be had; `datasets` looks into its cache last, whatever went wrong with the hub."""
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    not_found = type(error).__name__ == "DatasetNotFoundError"
    if isinstance(error, ConnectionError) or (not not_found and any("is not cached" in str(c) for c in causes)):
        return "it cannot be reached, and the cache does not hold the set"
    return _reason(error)


def _renumbered(source: DataSource, classes: Sequence[int]) -> DataSource:
    """The data set with the network's classes as labels."""
    numbers = {name: str(number) for name, number in zip(source.class_names, classes, strict=True)}
    parts = {
        key: replace(part, labels=tuple(numbers[label] for label in part.labels or ()))
        for key, part in source.parts.items()
    }
    return replace(source, parts=parts, class_names=())


def _library() -> Any:
    return import_optional("datasets")  # takes a second


def _reason(error: Exception) -> str:
    told = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (told[0][:200] if told else type(error).__name__).rstrip(".")


def _open(
    found: Any, name: str, origin: str, place: str, text_columns: Sequence[str], label_column: str | None
) -> DataSource:
    tables = dict(found) if isinstance(found, Mapping) else {"all": found}
    parts = {PART_NAMES[key.lower()]: table for key, table in tables.items() if key.lower() in PART_NAMES}
    others = [key for key in tables if key.lower() not in PART_NAMES]
    if len(tables) == 1:
        parts, others = {"all": next(iter(tables.values()))}, []
    if not parts:
        raise InputError(f"{place} must have parts called train, validation or test: it has {', '.join(others)}")
    notes = [f"The part '{key}' of the data is left out." for key in others]
    first = next(iter(parts.values()))
    image = _image_column(first)
    texts, label = _columns(first, image, place, text_columns, label_column)
    records = {key: _records(table, key, place, image, texts, label) for key, table in parts.items()}
    kept, left_out = drop_unlabelled(records)
    if label is None:
        notes.append(no_labels(first.column_names))
    names = getattr(first.features[label], "names", None) if label is not None else None
    return DataSource(
        name, origin, "texts" if image is None else "images", kept, tuple(names or ()), (*notes, *left_out)
    )


def _image_column(table: Any) -> str | None:
    return next((name for name, feature in table.features.items() if type(feature).__name__ == "Image"), None)


def _columns(
    table: Any, image: str | None, place: str, text_columns: Sequence[str], label_column: str | None
) -> tuple[tuple[str, ...], str | None]:
    names = [name for name in table.column_names if name != image]
    if image is None:
        classes = [name for name in names if type(table.features[name]).__name__ == "ClassLabel"]
        label = label_column or (classes[0] if len(classes) == 1 else None)
        return choose_columns(names, place, text_columns=text_columns, label_column=label)
    if text_columns:
        raise InputError(f"{place} holds images in its column '{image}': leave --text-column out")
    return choose_columns([image, *names], place, text_columns=(image,), label_column=label_column)


def _records(table: Any, part: str, place: str, image: str | None, texts: Sequence[str], label: str | None) -> Records:
    def where(i: int) -> str:
        return f"row {i + 1} of {'' if part == 'all' else f'{part} of '}{place}"

    labels = None
    if label is not None:
        column = list(table[label])
        names = getattr(table.features[label], "names", None)
        labels = read_labels([names[v] if names and v is not None and v >= 0 else v for v in column], label, where)

    def read_texts(i: int) -> tuple[str, ...]:
        row = table[i]
        for name in texts:
            check_texts([row[name]], name, lambda _: where(i))
        return tuple(row[name] for name in texts)

    def read_image(i: int) -> Image.Image:
        try:
            return ImageOps.exif_transpose(table[i][image])
        except Exception as error:  # Pillow's errors, wrapped or not
            raise InputError(f"cannot read the image in {where(i)}: {_reason(error)}; mend or remove it") from error

    return Records(len(table), read_texts if image is None else read_image, where, labels)
