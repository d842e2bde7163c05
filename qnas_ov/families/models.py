"""The models that can be named on the command line, and the data that each of them is measured on.

What is said of a model on the Hugging Face hub (licence, size, which revision holds safetensors) is what its page on
the hub says; sizes are those of the files that are fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qnas_ov.core.registry import Registry


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model are.

    Attributes:
        license: Their licence (SPDX), or "unknown".
        size_bytes: What is read or fetched, weights alone.
        folder: Folder in this package that holds them; None if they come from the hub.
        hub_id: Repository on the Hugging Face hub; None if they are shipped.
        revision: Revision of that repository, None for its main branch; a run records the commit that it meant.
    """

    license: str
    size_bytes: int
    folder: Path | None = None
    hub_id: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.hub_id is None):
            raise ValueError("weights lie in a folder or on the hub: give one of both")


@dataclass(frozen=True)
class DefaultData:
    """The data set that a model is measured on where the user names none.

    Attributes:
        name: A registered data set, or one of the Hugging Face hub: "owner/name", or "owner/name:configuration".
        revision: Revision of its repository, None for its main branch.
        split: Split of it to take and to split again, None for all of them: what a model was trained on flatters it.
        classes: Class of the model by class of the data set, empty where both agree: data of ten of a thousand
            classes are judged against all thousand.
    """

    name: str
    revision: str | None = None
    split: str | None = None
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be named on the command line.

    Attributes:
        name: Its name.
        family: Name of its family.
        task: What it does, in words.
        weights: Where its weights are.
        data: Its default data set.
        parameters: How many numbers it learned.
        source: Where the weights come from, in words.
        defaults: Settings of a search that differ from the recipe's own defaults.
        training: Settings of a training that differ from the defaults, for a model that is shipped.
    """

    name: str
    family: str
    task: str
    weights: Weights
    data: DefaultData
    parameters: int
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


MODELS: Registry[ModelEntry] = Registry("model")

IMAGENETTE = DefaultData(
    name="frgfm/imagenette:320px",
    revision="refs/convert/parquet",
    split="validation",
    # tench, English springer, cassette player, chain saw, church, French horn, garbage truck, gas pump, golf ball,
    # parachute: their indices among the thousand classes of ImageNet-1k
    classes=(0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
)
"""Ten easily told classes of ImageNet, of whose training data most of it was taken: accuracies are higher than on
ImageNet's validation data, and comparable among each other. Source: J. Howard, https://github.com/fastai/imagenette.
"""

_ENTRIES = (
    ModelEntry(
        name="digits-vit",
        family="vit",
        task="image classification",
        weights=Weights(
            license="Apache-2.0", size_bytes=3_207_996, folder=Path(__file__).parent / "weights" / "digits-vit"
        ),
        data=DefaultData("digits"),
        parameters=1_596_426,
        source="shipped with qnas-ov, trained by `qnas-ov train --model digits-vit`",
        defaults={
            "evaluations": 66,
            "latency_seconds": 0.2,
            "front_size": 12,
            "objectives": ["accuracy", "error", "latency"],
        },
        training={
            "cycles": 4,
            "epochs": 110,
            "learning_rate": 1e-3,
            "num_random": 2,
            "label_smoothing": 0.05,
            "teacher": False,
            "order": False,
            "augment": True,
        },
    ),
    ModelEntry(
        name="vit-base",
        family="vit",
        task="image classification",
        weights=Weights(
            license="Apache-2.0",
            size_bytes=346_000_000,
            hub_id="google/vit-base-patch16-224",
            revision="3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3",
        ),
        data=IMAGENETTE,
        parameters=86_567_656,
        source="ViT-B/16 of Google, ImageNet-21k, then ImageNet-1k at 224 pixels",
    ),
    ModelEntry(
        name="deit-small",
        family="vit",
        task="image classification",
        weights=Weights(
            license="Apache-2.0",
            size_bytes=88_200_000,
            hub_id="facebook/deit-small-patch16-224",
            revision="refs/pr/4",  # the hub's own conversion to safetensors; the main branch holds a pickle only
        ),
        data=IMAGENETTE,
        parameters=22_050_664,
        source="DeiT-S/16 of Meta, ImageNet-1k at 224 pixels",
    ),
    ModelEntry(
        name="bert-base",
        family="bert",
        task="text classification",
        weights=Weights(
            license="Apache-2.0", size_bytes=438_000_000, hub_id="yoshitomo-matsubara/bert-base-uncased-sst2"
        ),
        data=DefaultData("stanfordnlp/sst2", split="validation"),
        parameters=109_483_778,
        source="BERT base uncased, fine-tuned on SST-2 with torchdistill",
    ),
    ModelEntry(
        name="resnet50",
        family="resnet",
        task="image classification",
        weights=Weights(license="Apache-2.0", size_bytes=102_000_000, hub_id="microsoft/resnet-50"),
        data=IMAGENETTE,
        parameters=25_557_032,
        source="ResNet-50 v1.5 of Microsoft, ImageNet-1k at 224 pixels",
    ),
    ModelEntry(
        name="beit3-base",
        family="beit3",
        task="image classification",
        weights=Weights(
            license="MIT",  # of github.com/microsoft/unilm, where the weights were published
            size_bytes=346_700_000,
            hub_id="timm/beit3_base_patch16_224.in22k_ft_in1k",
        ),
        data=IMAGENETTE,
        parameters=86_659_816,
        source="image tower of Microsoft's BEiT-3 base as timm stores it, ImageNet-22k, then ImageNet-1k at 224 pixels",
    ),
)

for _entry in _ENTRIES:
    MODELS.add(_entry.name, _entry)
