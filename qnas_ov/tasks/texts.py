"""Texts as the inputs of a network, by the checkpoint's own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional

_FILES = (
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model",
)  # fmt: skip
_NO_LIMIT = 10**6  # transformers writes 1e30 where a tokenizer states none
_ROUND = 8

# These number positions from the padding token's id on.
_OFFSET = {
    "camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl",
}  # fmt: skip

Texts = Sequence[tuple[str, ...]]


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds files of a tokenizer."""
    return any((folder / name).is_file() for name in _FILES)


@dataclass(frozen=True)
class TextEncoder:
    """The tokenizer of a checkpoint.

    Attributes:
        tokenizer: transformers' own.
        positions: Most tokens that the network takes, or None.
    """

    tokenizer: Any
    positions: int | None

    def lengths(self, texts: Texts) -> list[int]:
        """Number of tokens of every text or pair, special ones included."""
        return [len(ids) for ids in self._call(texts)["input_ids"]]

    def fitting_length(self, longest: int) -> int:
        """The length that all texts are padded to: a multiple of 8, but no more than there are positions."""
        rounded = -(-longest // _ROUND) * _ROUND
        return rounded if self.positions is None else min(rounded, self.positions)

    def encode(self, texts: Texts, length: int) -> dict[str, np.ndarray]:
        """Tokens of texts or pairs, padded and cut to `length`.

        Returns:
            Int64 arrays (n, length): `input_ids`, `attention_mask`, `token_type_ids` and `position_ids`.
        """
        found = self._call(texts, padding="max_length", truncation=True, max_length=length)
        arrays = {name: np.asarray(rows, dtype=np.int64) for name, rows in found.items()}
        return {**arrays, "position_ids": np.broadcast_to(np.arange(length), (len(texts), length))}

    def _call(self, texts: Texts, **settings: Any) -> Mapping[str, Any]:
        first = [text[0] for text in texts]
        second = [text[1] for text in texts] if texts and len(texts[0]) == 2 else None
        return self.tokenizer(first, second, return_token_type_ids=True, verbose=False, **settings)


def load_text_encoder(folder: Path) -> TextEncoder:
    """Loads the tokenizer of a Hugging Face folder; nothing of the folder is run.

    Raises:
        InputError: If it has none, or it cannot be loaded or pad texts.
    """
    if not has_tokenizer(folder):
        raise InputError(
            f"texts need the tokenizer of their network, and '{folder}' has none: put the checkpoint's tokenizer files "
            "(tokenizer.json or vocab.txt, and tokenizer_config.json) there, or give the tokens as an .npz"
        )
    automatic = import_optional("transformers", name="AutoTokenizer")
    try:
        tokenizer = automatic.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers, tokenizers and sentencepiece each have errors of their own
        told = str(error).strip().splitlines()
        raise InputError(
            f"cannot load the tokenizer in '{folder}': {told[0][:200] if told else type(error).__name__}; restore its "
            "files from the checkpoint"
        ) from error
    if tokenizer.pad_token is None:
        raise InputError(f"the tokenizer in '{folder}' must be able to pad texts: set pad_token in its configuration")
    return TextEncoder(tokenizer, _positions(tokenizer, folder / "config.json"))


def _positions(tokenizer: Any, path: Path) -> int | None:
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < _NO_LIMIT else []
    stated = config.get("max_position_embeddings", config.get("n_positions"))
    if isinstance(stated, int) and stated > 0:
        padding = config.get("pad_token_id")
        offset = (1 if padding is None else int(padding)) + 1 if config.get("model_type") in _OFFSET else 0
        limits.append(stated - offset)
    return min(limits, default=None)
