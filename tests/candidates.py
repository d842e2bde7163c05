"""Candidates that classify images and sentences, as a search leaves them: random weights, real processors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from run_folders import NUM_SAMPLES, write_candidate
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
)

from qnas_ov.deploy import read_companions
from qnas_ov.families import Supernet
from qnas_ov.ir import export_supernet, open_network
from qnas_ov.tasks import Task, image_preprocessing

TOKENS = 16
WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the film cat dog was is not very good bad dull bright ##ly ##s un ##happy happy "
    "i you saw it , . ! ? ' \" - é 7"
)


def _sentence(i: int) -> str:
    subject = ("The film", "a cat", "I saw the dog", "you saw cats", "A film, it")[i % 5]
    adjective = ("good", "bad", "unhappy", "very dull", "not bright", "awful")[i % 6]
    return f"{subject} {('was', 'is')[i // 3 % 2]} {adjective}{('.', '!', '?', '')[i % 4]}"


SENTENCES = [_sentence(i) for i in range(NUM_SAMPLES)]
"""Every sixth has a word that is not among `WORDS`."""
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def picture(height: int, width: int, *, seed: int = 0, channels: int = 3) -> np.ndarray:
    """An image with structure at all scales: waves, an edge and noise; uint8 (height, width, channels)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin((8 + 5 * c + seed) * x + c) + np.cos((11 - 3 * c) * y * (1 + seed % 3)) for c in range(channels)]
    levels = 110 + 45 * np.stack(waves, axis=-1) + 40 * (x + y > 0.5 + 0.05 * seed)[..., None]
    return (levels + rng.normal(0, 12, levels.shape)).clip(0, 255).round().astype(np.uint8)


def vit_folder(folder: Path) -> Path:
    """A tiny ViT for colour images of 32x32 pixels, random weights, as a Hugging Face folder."""
    folder.mkdir()
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        num_labels=10, id2label={i: f"kind {i}" for i in range(10)}, initializer_range=0.3,
    )  # fmt: skip
    ViTForImageClassification(config).eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


def image_candidate(folder: Path, checkpoint: Path) -> Path:
    """The network of `vit_folder`, with samples that its image processor made of images."""
    steps = image_preprocessing(checkpoint)
    pixels = np.stack([steps.apply(Image.fromarray(picture(40 + i, 50, seed=i))) for i in range(NUM_SAMPLES)])
    config = json.loads((checkpoint / "config.json").read_text())
    return write_candidate(
        folder,
        model=open_network(checkpoint, {"pixel_values": (1, 3, 32, 32)}).model,
        config=config,
        preprocessor=PROCESSOR,
        inputs={"pixel_values": pixels},
        labels=[f"kind {i}" for i in range(10)],
    )


def digits_candidate(folder: Path, digits_supernet: Supernet, digits: Task) -> Path:
    """The shipped network for grey images of 8x8 pixels, with test samples."""
    return write_candidate(
        folder,
        model=export_supernet(digits_supernet),
        config=digits_supernet.config,
        preprocessor=digits_supernet.preprocessor,
        inputs={"pixel_values": digits.test.inputs["pixel_values"][:NUM_SAMPLES]},
        labels=list(digits.labels),
    )


def bert_folder(folder: Path) -> Path:
    """A tiny BERT with random weights and a WordPiece tokenizer, as a Hugging Face folder."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS.split()) + "\n")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS.split()), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, num_labels=3, id2label={0: "bad", 1: "good", 2: "dull"}, initializer_range=1.0,
    )  # fmt: skip
    network = BertForSequenceClassification(config).eval()
    with torch.no_grad():  # else one class would have all sentences
        network.classifier.bias -= network(**tokenizer(SENTENCES, padding=True, return_tensors="pt")).logits.mean(0)
    network.save_pretrained(folder)
    return folder


def text_candidate(folder: Path, checkpoint: Path) -> Path:
    """The network of `bert_folder` for 16 tokens, with samples that its tokenizer made of sentences."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    model = open_network(checkpoint, {n: (1, TOKENS) for n in names}).model
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokens = tokenizer(SENTENCES, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="np")
    return write_candidate(
        folder,
        model=model,
        config=json.loads((checkpoint / "config.json").read_text()),
        companions=read_companions(checkpoint),
        inputs={name: tokens[name].astype(np.int64) for name in names},
        labels=["bad", "good", "dull"],
    )
