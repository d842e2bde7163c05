"""Candidates as a search leaves them, made once."""

from __future__ import annotations

from pathlib import Path

import candidates
import pytest

from qnas_ov.families import Supernet
from qnas_ov.tasks import Task


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("candidates")


@pytest.fixture(scope="session")
def image_candidate(folder: Path) -> Path:
    return candidates.image_candidate(folder / "image", candidates.vit_folder(folder / "vit"))


@pytest.fixture(scope="session")
def digits_candidate(folder: Path, digits_supernet: Supernet, digits: Task) -> Path:
    return candidates.digits_candidate(folder / "digits", digits_supernet, digits)


@pytest.fixture(scope="session")
def text_candidate(folder: Path) -> Path:
    return candidates.text_candidate(folder / "text", candidates.bert_folder(folder / "bert"))
