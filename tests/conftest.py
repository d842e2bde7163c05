"""Tiny real networks, and a cache of banks that belongs to the test session."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from browser import Browser, start_browser

from qnas_ov.families import FAMILIES, MODELS, Supernet
from qnas_ov.ir import Bank, CandidateBuilder, Sample, Scheme, export_supernet, load_or_build_bank
from qnas_ov.pipeline._setup import calibration_samples
from qnas_ov.tasks import TASKS, Task

SCHEME = Scheme(transformer=True)

TINY_VIT = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "image_size": 8,
    "patch_size": 2,
    "num_channels": 1,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "hidden_act": "gelu",
    "num_labels": 10,
    "qnas_ov": {"depth": [1, 2, 3], "heads": [1, 2, 3], "ffn": [32, 64, 96]},
}


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every test, and every process a test starts, keeps its banks in one folder of this session."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="session")
def digits() -> Task:
    return TASKS.get("digits")()


def randomise(supernet: Supernet, seed: int = 0) -> Supernet:
    """Gives biases and norms values of their own: zeros and ones would be folded away."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in supernet.model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
            else:
                parameter *= 3.0
    return supernet


@pytest.fixture(scope="session")
def tiny_supernet() -> Supernet:
    return randomise(FAMILIES.get("vit").build(copy.deepcopy(TINY_VIT), seed=0))


@pytest.fixture(scope="session")
def digits_supernet() -> Supernet:
    """The shipped, trained network."""
    return FAMILIES.get("vit").load(MODELS.get("digits-vit").weights.folder)


@pytest.fixture(scope="session")
def tiny_bank(tiny_supernet: Supernet, digits: Task, session_cache: Path) -> Bank:
    model = export_supernet(tiny_supernet)
    return load_or_build_bank(model, calibration_samples(digits), SCHEME, cache=session_cache / "tiny")


@pytest.fixture(scope="session")
def tiny_builder(tiny_supernet: Supernet, tiny_bank: Bank) -> CandidateBuilder:
    return CandidateBuilder(tiny_bank, tiny_supernet.elastic, inference_precisions=("bf16", "f32"), scheme=SCHEME)


def quantize_afresh(
    model: ov.Model, samples: Sequence[Sample], *, transformer: bool, ignored: Sequence[str]
) -> ov.Model:
    """What a user of NNCF does: the public `nncf.quantize` with the ignored operations by name."""
    return nncf.quantize(
        model,
        nncf.Dataset(list(samples)),
        subset_size=len(samples),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
        ignored_scope=nncf.IgnoredScope(names=list(ignored)) if ignored else None,
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the proofs in full: 20 policies a network instead of 4")


@pytest.fixture(scope="session")
def num_policies(request: pytest.FixtureRequest) -> int:
    """How many random policies a proof takes."""
    return 20 if request.config.getoption("--full") else 4


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One headless browser for all tests; a missing one fails them."""
    with start_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def tiny_checkpoint(tiny_supernet: Supernet, tmp_path: Path) -> Path:
    """The tiny network as a Hugging Face folder."""
    from safetensors.torch import save_file

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY_VIT))
    save_file({k: v.contiguous() for k, v in tiny_supernet.model.state_dict().items()}, folder / "model.safetensors")
    return folder
