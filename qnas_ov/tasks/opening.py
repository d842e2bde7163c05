"""Finds out what kind of data set a path or a name stands for, and opens it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qnas_ov.core.errors import InputError
from qnas_ov.tasks import images, tables
from qnas_ov.tasks.hub import holds_parquet, is_saved_data_set, open_saved
from qnas_ov.tasks.sources import DataSource

KINDS = (
    "a folder of images by class, a .csv, .tsv or .jsonl of texts, a Hugging Face data set (of save_to_disk, or "
    ".parquet), or an .npz of arrays"
)


def open_data(path: Path, *, text_columns: Sequence[str] = (), label_column: str | None = None) -> DataSource:
    """Opens a file or folder of images or texts.

    Args:
        path: What `--data` gives, if it is no .npz.
        text_columns: One or two columns of a table of texts; guessed from usual names if left out.
        label_column: Its column of labels; likewise.

    Raises:
        QnasError: If there is nothing, it is of an unknown kind, or it is damaged.
    """
    if not path.exists():
        raise InputError(f"cannot read the data '{path}': there is no such file or folder; give {KINDS}")
    try:
        if path.is_dir() and is_saved_data_set(path):
            return open_saved(path, text_columns=text_columns, label_column=label_column)
        if path.is_dir() and images.holds_images(path):
            if text_columns or label_column is not None:
                raise InputError(f"'{path}' holds images: leave --text-column and --label-column out")
            return images.open_image_folder(path)
        if path.suffix in tables.SUFFIXES if path.is_file() else tables.holds_tables(path):
            return tables.open_tables(path, text_columns=text_columns, label_column=label_column)
        if holds_parquet(path):
            return open_saved(path, text_columns=text_columns, label_column=label_column)
    except OSError as error:
        raise InputError(f"cannot read the data '{path}': {error.strerror or error}; make it readable") from error
    if path.is_dir():
        raise InputError(f"the folder '{path}' holds no images and no table: give {KINDS}")
    raise InputError(f"'{path}' is of an unknown kind: give {KINDS}")
