from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_files import write_tokenizer

from qnas_ov.core.errors import InputError
from qnas_ov.tasks import load_text_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def configured(folder: Path, target: Path, **config: object) -> Path:
    """The same tokenizer beside another configuration of a network."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_texts_become_tokens(folder: Path) -> None:
    encoder = load_text_encoder(folder)
    assert encoder.lengths([("good",), ("the film was undone",)]) == [3, 7]
    arrays = encoder.encode([("good",), ("the film was undone",)], 6)
    vocabulary = (folder / "vocab.txt").read_text().splitlines()
    words = [[vocabulary[i] for i in row] for row in arrays["input_ids"]]
    assert words == [
        ["[CLS]", "good", "[SEP]", "[PAD]", "[PAD]", "[PAD]"],
        ["[CLS]", "the", "film", "was", "un", "[SEP]"],
    ]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert arrays["position_ids"].tolist() == [list(range(6))] * 2
    assert not arrays["token_type_ids"].any()


def test_pairs_are_one_input(folder: Path) -> None:
    encoder = load_text_encoder(folder)
    assert encoder.lengths([("good", "very bad")]) == [6]
    assert encoder.encode([("good", "very bad")], 8)["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({}, None),
        ({"max_position_embeddings": 32}, 32),
        ({"max_position_embeddings": 34, "model_type": "roberta", "pad_token_id": 1}, 32),
        ({"n_positions": 20}, 20),
        ({"max_position_embeddings": -1}, None),
    ],
)
def test_positions_of_the_network(
    folder: Path, tmp_path: Path, config: dict[str, object], positions: int | None
) -> None:
    encoder = load_text_encoder(configured(folder, tmp_path / "model", **config))
    assert encoder.positions == positions
    assert encoder.fitting_length(9) == 16
    assert encoder.fitting_length(30) == (20 if positions == 20 else 32)


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has none: .*tokenizer\.json"):
        load_text_encoder(tmp_path)


def test_a_damaged_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    target = configured(folder, tmp_path / "model", model_type="bert")
    (target / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="cannot load the tokenizer in") as caught:
        load_text_encoder(target)
    assert "\n" not in str(caught.value)
