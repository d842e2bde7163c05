"""A model that searches in seconds: the tiny network, registered for the tests only."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from conftest import TINY_VIT
from exports import exported_once
from safetensors.torch import save_file

from qnas_ov.families import MODELS, DefaultData, ModelEntry, Supernet, Weights
from qnas_ov.pipeline import SearchResult, run_search

QUICK = {
    "model": "tiny-vit",
    "evaluations": 10,
    "population": 6,
    "inner_evaluations": 200,
    "front_size": 3,
    "latency_seconds": 0.02,
    "final_rounds": 2,
    "max_size_mb": 0.05,
}


SMALL = {
    "evaluations": 8, "population": 4, "front_size": 2, "final_rounds": 1, "inference_precision": "f32",
    "algorithm": "random", "max_size_mb": None,
}  # fmt: skip
"""What makes it smaller still, where the search itself is not the point."""


@pytest.fixture(scope="module", autouse=True)
def _exported_once() -> Iterator[None]:
    with exported_once():
        yield


@pytest.fixture(scope="session")
def tiny_model(tiny_supernet: Supernet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tiny-model")
    (folder / "config.json").write_text(json.dumps(TINY_VIT))
    save_file({k: v.contiguous() for k, v in tiny_supernet.model.state_dict().items()}, folder / "model.safetensors")
    weights = Weights(license="Apache-2.0", size_bytes=1, folder=folder)
    entry = ModelEntry(
        "tiny-vit", "vit", "image classification", weights, DefaultData("digits"), 1, "made by the tests"
    )
    MODELS.add("tiny-vit", entry)
    yield "tiny-vit"
    del MODELS._entries["tiny-vit"]


@pytest.fixture(scope="session")
def finished_run(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    with exported_once():
        return run_search(QUICK, out=tmp_path_factory.mktemp("runs") / "finished")
