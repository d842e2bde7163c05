"""Files of a checkpoint that its clients need: the image processor's and the tokenizer's."""

from __future__ import annotations

from pathlib import Path

from qnas_ov.core.errors import InputError

PREPROCESSOR = "preprocessor_config.json"
PROCESSORS = {PREPROCESSOR, "processor_config.json"}
"""Where image processors stand."""

TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Names of tokenizers' files in Hugging Face folders; data only, none is a pickle or code."""

COMPANIONS = ("processor_config.json", *TOKENIZER_FILES)
"""What travels from a network's folder into every package of it, beside `PREPROCESSOR`."""

_VOCABULARIES = {
    "sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.json", "tokenizer.model", "vocab.json",
    "vocab.txt",
}  # fmt: skip


def read_companions(folder: Path) -> dict[str, bytes]:
    """The companion files in a folder, by name; none if it is a file.

    Raises:
        InputError: If one cannot be read.
    """
    found = {}
    for name in COMPANIONS:
        path = folder / name
        try:
            if path.is_file():
                found[name] = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read '{path}': {error.strerror or error}; make it readable") from error
    return found


def has_tokenizer(files: set[str]) -> bool:
    """Whether files of these names make a tokenizer."""
    return bool(_VOCABULARIES & files)
