"""BERT, RoBERTa and DistilBERT of any size: depth, attention heads and feed-forward neurons per layer are elastic.

They classify sequences or embed sentences (the mean over the tokens, normalised). The dimensions and the default
choices are those of SimQ-NAS for BERT (arXiv 2312.13301), in proportion for other sizes; depth keeps the first blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.families._checkpoint import (
    check_class,
    check_type,
    is_of,
    open_pretrained,
    parse_config,
    read_config,
    read_json,
    refuse_differences,
    with_defaults,
)
from qnas_ov.families._choices import is_ordered
from qnas_ov.families._encoder import (
    TINY_CHOICES,
    BlockLayout,
    EncoderSize,
    encoder_choices,
    encoder_config,
    encoder_elastic,
)
from qnas_ov.families.base import CONFIG_KEY, FAMILIES, Architecture, InputSpec, Supernet

DEPTH, HEADS, FFN = tuple(i / 12 for i in range(6, 12)), (6 / 12, 8 / 12, 10 / 12), (1 / 3, 2 / 3)
"""Choices of SimQ-NAS as shares of BERT base: depth 6 to 12, heads {6, 8, 10, 12}, neurons {1024, 2048, 3072}."""

SEQUENCE_LENGTH = 128
EMBEDDING = "sentence_embedding"
_MASKED = -1e9  # far below any score in every inference precision, and no infinity


@dataclass(frozen=True)
class _Kind:
    """What differs between the model types.

    Attributes:
        classes: Its classes of transformers: the classifier and the bare encoder.
        layers: Path of the blocks within the bare encoder.
        block: Module paths within a block.
        keys: What its configuration calls depth, heads and feed-forward width.
        hidden: What it calls the hidden channels.
        token_types: Whether it reads `token_type_ids`.
    """

    classes: tuple[str, str]
    layers: str
    block: BlockLayout
    keys: tuple[str, str, str]
    hidden: str
    token_types: bool


_BERT_BLOCK = BlockLayout(
    query_key_value=("attention.self.query", "attention.self.key", "attention.self.value"),
    output=("attention.output.dense",),
    fc1="intermediate.dense",
    fc2="output.dense",
)
_BERT_KEYS = ("num_hidden_layers", "num_attention_heads", "intermediate_size")
_KINDS = {
    "bert": _Kind(
        ("BertForSequenceClassification", "BertModel"),
        "encoder.layer", _BERT_BLOCK, _BERT_KEYS, "hidden_size", token_types=True,
    ),
    "roberta": _Kind(
        ("RobertaForSequenceClassification", "RobertaModel"),
        "encoder.layer", _BERT_BLOCK, _BERT_KEYS, "hidden_size", token_types=False,
    ),
    "distilbert": _Kind(
        ("DistilBertForSequenceClassification", "DistilBertModel"),
        "transformer.layer",
        BlockLayout(
            query_key_value=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
            output=("attention.out_lin",),
            fc1="ffn.lin1",
            fc2="ffn.lin2",
        ),
        ("n_layers", "n_heads", "hidden_dim"), "dim", token_types=False,
    ),
}  # fmt: skip
_UNUSED = ("pooler.", "cls.", "lm_head.", "vocab_", "embeddings.position_ids")


def _example(model_type: str, *, embeds: bool = False) -> dict[str, Any]:
    kind = _KINDS[model_type]
    depth, heads, ffn = kind.keys
    return {
        "architectures": [kind.classes[embeds]],
        "model_type": model_type,
        kind.hidden: 48,
        depth: 3,
        heads: 4,
        ffn: 96,
        "vocab_size": 60,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "num_labels": 4,
        CONFIG_KEY: {**TINY_CHOICES, "sequence_length": 16},
    }


class BertFamily:
    """Encoders of text that classify or embed."""

    name = "bert"
    examples: Mapping[str, dict[str, Any]] = {
        **{name: _example(name) for name in _KINDS},
        "bert-embedding": _example("bert", embeds=True),
        "distilbert-embedding": _example("distilbert", embeds=True),
    }

    def accepts(self, config: Mapping[str, Any]) -> bool:
        """Whether it is a BERT, RoBERTa or DistilBERT that classifies sequences or has no head."""
        return is_of(config, {name: kind.classes for name, kind in _KINDS.items()}) and not config.get("is_decoder")

    def build(self, config: dict[str, Any], *, seed: int) -> Supernet:
        """Builds a supernet with random weights.

        Args:
            config: A Hugging Face configuration; its entry "qnas_ov" may hold the choices `depth` (blocks), `heads` and
                `ffn` (neurons), both per layer, and `sequence_length`, the tokens of an input.
            seed: Seed of the weights.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _network_class(_class_name(config))(_parse(config)[0])
        return _supernet(model, config)

    def load(self, folder: Path) -> Supernet:
        """Loads a folder with `config.json` and `model.safetensors`.

        Raises:
            InputError: If it holds a network of another family, tensors are missing or left over (they are named), or
                its sentences are not embedded by the mean over the tokens.
        """
        config = read_config(folder)
        check_type(folder, config, family=self.name, types=tuple(_KINDS))
        name, prefix = _class_name(config), config["model_type"]
        if _embeds(name):
            _check_pooling(folder)
        model, found = open_pretrained(_network_class(name), folder, config=_parse(config)[0])
        refuse_differences(folder, found, may_have=(*_UNUSED, *(f"{prefix}.{part}" for part in _UNUSED)))
        return _supernet(model, config)

    def subnetwork_config(
        self, config: dict[str, Any], architecture: Architecture
    ) -> tuple[dict[str, Any], str | None]:
        """The configuration of a subnetwork, and a note where its class cannot express it."""
        name = _class_name(config)
        result, note = encoder_config(
            config, architecture, keys=_KINDS[config["model_type"]].keys, class_name=f"transformers' {name}"
        )
        if _embeds(name):
            pooled = f"the output '{EMBEDDING}' is pooled and normalised: load it with OVModelForCustomTasks"
            note = pooled if note is None else f"{note}; {pooled}"
        return result, note


class _Classifier(torch.nn.Module):
    """Builds the attention mask itself: what transformers does for a mask of two axes cannot be traced."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> Any:
        given = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return super().forward(input_ids=input_ids, attention_mask=_additive(attention_mask), **given)


class _Embedder(torch.nn.Module):
    """Embeds sentences: the mean over the tokens that are not masked, of length 1."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        given = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = super().forward(input_ids=input_ids, attention_mask=_additive(attention_mask), **given)
        weights = attention_mask[:, :, None].to(torch.float32)
        mean = (found.last_hidden_state * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return {EMBEDDING: functional.normalize(mean, dim=1)}


def _additive(attention_mask: torch.Tensor) -> torch.Tensor:
    """A mask of 0 and 1 (n, tokens) as what is added to attention scores: (n, 1, 1, tokens)."""
    return (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * _MASKED


@cache
def _network_class(name: str) -> Any:
    """A class of transformers with a `forward` of ours before its own; the names of its modules stay."""
    base = import_optional("transformers", name=name)
    if not _embeds(name):
        return type(name, (_Classifier, base), {})

    def initialise(self: Any, config: Any) -> None:
        pooler = {} if "DistilBert" in name else {"add_pooling_layer": False}
        base.__init__(self, config, **pooler)

    return type(name, (_Embedder, base), {"__init__": initialise})


def _embeds(name: str) -> bool:
    return name.endswith("Model")


def _class_name(config: Mapping[str, Any]) -> str:
    return check_class(
        config, _KINDS[config["model_type"]].classes, family="bert", purpose="sequence classification or embedding"
    )


def _check_pooling(folder: Path) -> None:
    """Refuses sentence-transformers checkpoints that pool otherwise than this family does."""
    pooling = read_json(folder / "1_Pooling" / "config.json")
    if pooling is not None and not pooling.get("pooling_mode_mean_tokens", True):
        raise InputError(
            f"sentences must be embedded by the mean over their tokens: '{folder}/1_Pooling/config.json' asks for "
            "another pooling; choose another checkpoint"
        )


def _parse(config: Mapping[str, Any]) -> tuple[Any, EncoderSize]:
    kind = _KINDS[config["model_type"]]
    parsed = parse_config(import_optional("transformers", name=_class_name(config)).config_class, config)
    depth, heads, ffn = (getattr(parsed, key) for key in kind.keys)
    return parsed, EncoderSize(depth=depth, hidden=getattr(parsed, kind.hidden), heads=heads, ffn=ffn)


def _sequence_length(config: Mapping[str, Any], parsed: Any) -> int:
    longest = parsed.max_position_embeddings
    if config["model_type"] == "roberta":
        longest -= parsed.pad_token_id + 1  # positions begin after that of the padding
    stated = config.get(CONFIG_KEY, {}).get("sequence_length", min(SEQUENCE_LENGTH, longest))
    if type(stated) is not int or not 1 <= stated <= longest:
        raise InputError(f"sequence_length must be 1 to {longest} for this network: got {stated}")
    return stated


def _supernet(model: torch.nn.Module, config: dict[str, Any]) -> Supernet:
    kind, name = _KINDS[config["model_type"]], _class_name(config)
    parsed, size = _parse(config)
    choices = encoder_choices(config, size, depth=DEPTH, heads=HEADS, ffn=FFN)
    prefix = "" if _embeds(name) else f"{config['model_type']}."
    blocks = tuple(f"{prefix}{kind.layers}.{i}" for i in range(size.depth))
    length = _sequence_length(config, parsed)
    names = ("input_ids", "attention_mask", "token_type_ids")[: 3 if kind.token_types else 2]
    return Supernet(
        model=model.eval(),
        family="bert",
        elastic=encoder_elastic(blocks, kind.block, size, choices),
        inputs=tuple(InputSpec(n, (length,), "int64") for n in names),
        output=EMBEDDING if _embeds(name) else "logits",
        config=with_defaults(config, parsed, kind.keys),
        transformer=True,
        num_classes=parsed.num_labels if not _embeds(name) and parsed.num_labels > 1 else None,
        ordered=is_ordered(config),
    )


FAMILIES.add("bert", BertFamily())
