"""BEiT-3, a multiway transformer: depth, heads and the feed-forward neurons of both experts are elastic.

It classifies images, or images together with a text (answers to questions). The default choices of depth and neurons
are those of SimQ-NAS for BEiT-3 (arXiv 2312.13301), depth {11, 12} and {2048, 2560, 3072} neurons, in proportion for
other sizes; it keeps all heads, here two may go. transformers has no BEiT-3: a checkpoint is a folder of timm's for one
of its BEiT-3 classifiers; or a folder with a `config.json` as `examples` show one and, as `model.safetensors`, the
tensors of Microsoft's fine-tuned checkpoints under the names that they have there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from qnas_ov.core.errors import InputError
from qnas_ov.families._checkpoint import (
    Differences,
    check_class,
    check_labels,
    check_type,
    find_not_finite,
    is_of,
    read_config,
    read_json,
    read_tensors,
    refuse_differences,
)
from qnas_ov.families._choices import is_ordered, subnetwork_entry
from qnas_ov.families._encoder import TINY_CHOICES, EncoderSize, encoder_choices
from qnas_ov.families._multiway import ImageClassifier, ImageTextClassifier, MultiwaySize
from qnas_ov.families._multiway_timm import is_timm_beit3, read_timm_config, rename_timm_tensors
from qnas_ov.families.base import (
    CONFIG_KEY,
    FAMILIES,
    Architecture,
    ChannelGroup,
    DepthGroup,
    Elastic,
    InputSpec,
    Supernet,
)

DEPTH, HEADS, FFN = (11 / 12,), (10 / 12,), (2 / 3, 5 / 6)
SEQUENCE_LENGTH = 64

_IMAGES, _IMAGES_AND_TEXT = "BEiT3ForImageClassification", "BEiT3ForVisualQuestionAnswering"
_CLASSES = {"beit3": (_IMAGES, _IMAGES_AND_TEXT)}
_NETWORKS: dict[str, Callable[[MultiwaySize], torch.nn.Module]] = {
    _IMAGES: ImageClassifier,
    _IMAGES_AND_TEXT: ImageTextClassifier,
}
_DEFAULTS = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "image_size": 224, "patch_size": 16, "num_channels": 3, "vocab_size": 64010, "max_position_embeddings": 1024,
}  # fmt: skip
"""Of BEiT-3 base."""

_PURPOSE = "the classification of images, or of images with text"
_LAYERS = "beit3.encoder.layers"


def _example(name: str) -> dict[str, Any]:
    choices: dict[str, Any] = {**TINY_CHOICES}
    return {
        "architectures": [name],
        "model_type": "beit3",
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "image_size": 8,
        "patch_size": 2,
        "num_channels": 1,
        "vocab_size": 60,
        "max_position_embeddings": 40,
        "num_labels": 10,
        CONFIG_KEY: choices if name == _IMAGES else {**choices, "sequence_length": 12},
    }


class BEiT3Family:
    """BEiT-3 for images, and for images with text."""

    name = "beit3"
    examples: Mapping[str, dict[str, Any]] = {"images": _example(_IMAGES), "images-text": _example(_IMAGES_AND_TEXT)}

    def accepts(self, config: Mapping[str, Any]) -> bool:
        """Whether it is a BEiT-3 that scores classes."""
        return is_of(config, _CLASSES) or is_timm_beit3(config)

    def build(self, config: dict[str, Any], *, seed: int) -> Supernet:
        """Builds a supernet with random weights.

        Args:
            config: As `examples` show; its entry "qnas_ov" may hold the choices `depth` (blocks), `heads` and `ffn`
                (neurons of each expert), both per layer, and `sequence_length`, the tokens of an input.
            seed: Seed of the weights.
        """
        stated, processor = _translate(config)
        config, size = _parse(stated)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _NETWORKS[_class_name(config)](size)
        supernet = _supernet(model, config, size)
        supernet.preprocessor = processor
        return supernet

    def load(self, folder: Path) -> Supernet:
        """Loads a folder with `config.json` and `model.safetensors`, in this project's form or in timm's.

        Raises:
            InputError: If it holds a network of another family, or tensors are missing or left over (they are named).
        """
        given = read_config(folder)
        stated, processor = _translate(given)
        check_type(folder, stated, family=self.name, types=tuple(_CLASSES))
        config, size = _parse(stated)
        model = _NETWORKS[_class_name(config)](size)
        tensors, wanted = read_tensors(folder), model.state_dict()
        if is_timm_beit3(given):
            tensors = rename_timm_tensors(tensors)
        found = Differences(
            missing=tuple(sorted(set(wanted) - set(tensors))),
            unexpected=tuple(sorted(n for n in set(tensors) - set(wanted) if not _is_unused(n, size))),
            mismatched=tuple(sorted(n for n in wanted if n in tensors and tensors[n].shape != wanted[n].shape)),
            not_finite=find_not_finite({n: tensors[n] for n in wanted if n in tensors}),
        )
        refuse_differences(folder, found)
        model.load_state_dict({name: tensors[name].float() for name in wanted})
        supernet = _supernet(model, config, size)
        supernet.preprocessor = read_json(folder / "preprocessor_config.json") or processor
        return supernet

    def subnetwork_config(
        self, config: dict[str, Any], architecture: Architecture
    ) -> tuple[dict[str, Any], str | None]:
        """The configuration of a subnetwork, and a note: transformers has no class for it."""
        result = copy.deepcopy(config)
        result["num_hidden_layers"] = architecture["depth"]
        result[CONFIG_KEY] = subnetwork_entry(config, architecture)
        return result, (
            "transformers has no BEiT-3: the IR is exact, load it with OpenVINO; the architecture stands under "
            "'qnas_ov' in config.json"
        )


def _translate(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The configuration in this project's form, and the preprocessing that timm's form states."""
    return read_timm_config(config) if is_timm_beit3(config) else (dict(config), None)


def _class_name(config: Mapping[str, Any]) -> str:
    return check_class(config, _CLASSES["beit3"], family="beit3", purpose=_PURPOSE)


def _is_unused(name: str, size: MultiwaySize) -> bool:
    """Tensors of pretraining, and the experts for text where there is none."""
    text = ".B." in name or name.startswith("beit3.text_embed.")
    return name == "beit3.vision_embed.mask_token" or (text and not size.tokens)


def _parse(stated: Mapping[str, Any]) -> tuple[dict[str, Any], MultiwaySize]:
    """The configuration with what it leaves out, and the dimensions in it.

    Raises:
        InputError: If a dimension is no whole number above 0, or they contradict each other.
    """
    name = _class_name(stated)
    check_labels(stated)
    config = {**_DEFAULTS, **stated}
    for key in _DEFAULTS:
        if type(config[key]) is not int or config[key] < 1:
            raise InputError(f"{key} in config.json must be a whole number above 0: got {config[key]!r}; correct it")
    labels = config.get("id2label")
    classes = config.get("num_labels", len(labels) if isinstance(labels, dict) else 1000)
    if config["image_size"] % config["patch_size"]:
        raise InputError(
            f"the patches must divide the image: config.json asks for patches of {config['patch_size']} pixels in "
            f"images of {config['image_size']}; correct it"
        )
    size = MultiwaySize(
        hidden=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        ffn=config["intermediate_size"],
        image=config["image_size"],
        patch=config["patch_size"],
        colours=config["num_channels"],
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        tokens=_sequence_length(config) if name == _IMAGES_AND_TEXT else 0,
        classes=classes,
        eps=float(config.get("layer_norm_eps", 1e-5)),
    )
    return config, size


def _sequence_length(config: Mapping[str, Any]) -> int:
    longest = config["max_position_embeddings"] - 2
    stated = config.get(CONFIG_KEY, {}).get("sequence_length", min(SEQUENCE_LENGTH, longest))
    if type(stated) is not int or not 1 <= stated <= longest:
        raise InputError(f"sequence_length must be 1 to {longest} for this network: got {stated}")
    return stated


def _elastic(size: MultiwaySize, choices: Mapping[str, tuple[int, ...]]) -> Elastic:
    experts = {"A": "ffn", "B": "ffn_text"} if size.tokens else {"A": "ffn"}
    blocks = tuple(f"{_LAYERS}.{i}" for i in range(size.depth))
    widths = []
    for i, block in enumerate(blocks):
        attention = f"{block}.self_attn"
        widths.append(
            ChannelGroup(
                knob=f"layer.{i}.heads",
                producers=tuple(f"{attention}.{p}_proj.{e}" for p in "qkv" for e in experts),
                consumers=tuple(f"{attention}.out_proj.{e}" for e in experts),
                num_groups=size.heads,
                group_size=size.hidden // size.heads,
                choices=choices["heads"],
                block=block,
                norms=tuple(f"{attention}.inner_attn_ln.{e}" for e in experts),
            )
        )
        for expert, knob in experts.items():
            widths.append(
                ChannelGroup(
                    knob=f"layer.{i}.{knob}",
                    producers=(f"{block}.ffn.{expert}.fc1",),
                    consumers=(f"{block}.ffn.{expert}.fc2",),
                    num_groups=size.ffn,
                    group_size=1,
                    choices=choices["ffn"],
                    block=block,
                    norms=(f"{block}.ffn.{expert}.ffn_layernorm",),
                )
            )
    return Elastic(tuple(widths), (DepthGroup("depth", blocks, choices["depth"]),))


def _supernet(model: torch.nn.Module, config: dict[str, Any], size: MultiwaySize) -> Supernet:
    encoder = EncoderSize(depth=size.depth, hidden=size.hidden, heads=size.heads, ffn=size.ffn)
    choices = encoder_choices(config, encoder, depth=DEPTH, heads=HEADS, ffn=FFN)
    inputs = [InputSpec("pixel_values", (size.colours, size.image, size.image))]
    if size.tokens:
        inputs += [InputSpec(name, (size.tokens,), "int64") for name in ("input_ids", "attention_mask")]
    return Supernet(
        model=model.eval(),
        family="beit3",
        elastic=_elastic(size, choices),
        inputs=tuple(inputs),
        output="logits",
        config=config,
        transformer=True,
        num_classes=size.classes,
        ordered=is_ordered(config),
    )


FAMILIES.add("beit3", BEiT3Family())
