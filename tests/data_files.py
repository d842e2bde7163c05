"""Data sets and checkpoints as users have them, small and made on the spot."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BertConfig, BertForSequenceClassification, BertModel, ViTConfig, ViTForImageClassification

COLOURS = {"blue": (40, 60, 220), "green": (50, 200, 60), "red": (220, 40, 50)}
WORDS = ("the", "film", "was", "a", "bore", "joy", "and", "of", "good", "bad", "not", "very", "un", "##done")


def save_image(path: Path, colour: Sequence[int], rng: np.random.Generator, size: tuple[int, int] = (20, 24)) -> Path:
    """A picture of one colour with noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(colour) + rng.integers(-30, 31, (*size, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


def image_folder(folder: Path, *, per_class: int = 16, classes: Iterable[str] = COLOURS) -> Path:
    """Images by class: one folder per colour."""
    rng = np.random.default_rng(0)
    for name in classes:
        for i in range(per_class):
            save_image(folder / name / f"{i:03d}.png", COLOURS[name], rng)
    return folder


def flat_folder(folder: Path, count: int = 24) -> Path:
    """Images without classes."""
    rng = np.random.default_rng(1)
    for i in range(count):
        save_image(folder / f"{i:03d}.png", rng.integers(0, 256, 3), rng)
    return folder


def vit_folder(folder: Path, *, labels: Sequence[str] = ("red", "green", "blue"), layers: int = 2) -> Path:
    """A ViT of few layers with random weights, with its image processor."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=64,
        image_size=16, patch_size=4, id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)},
    )  # fmt: skip
    model = ViTForImageClassification(config).eval()
    _spread_weights(model)
    model.save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16},
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def write_tokenizer(folder: Path) -> Path:
    """A WordPiece tokenizer of a few words."""
    from transformers import BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def bert_folder(
    folder: Path, *, labels: Sequence[str] = ("bad", "good"), embeds: bool = False, layers: int = 2
) -> Path:
    """A BERT of few layers with random weights and 32 positions, with its tokenizer."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=64,
        vocab_size=5 + len(WORDS), max_position_embeddings=32,
        id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)},
    )  # fmt: skip
    model = (BertModel if embeds else BertForSequenceClassification)(config).eval()
    _spread_weights(model)
    model.save_pretrained(folder)
    return write_tokenizer(folder)


def _spread_weights(model: torch.nn.Module) -> None:
    """Larger weights, so that outputs differ between samples."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)


def sentence(rng: np.random.Generator, longest: int = 12) -> str:
    """Some of the words that the tokenizer knows."""
    return " ".join(rng.choice(WORDS[:12], rng.integers(2, longest)))


def reviews(count: int = 60) -> list[dict[str, str]]:
    """Rows of texts with labels."""
    rng = np.random.default_rng(0)
    return [{"text": sentence(rng), "label": ("good", "bad")[i % 2]} for i in range(count)]


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path
