"""optimum-intel loads packages and classifies images and sentences, by itself and in transformers' pipelines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from candidates import SENTENCES, picture
from optimum.intel import OVModelForImageClassification, OVModelForSequenceClassification
from PIL import Image
from transformers import AutoTokenizer, ViTImageProcessorPil, pipeline

from qnas_ov.deploy import InputSettings, read_samples, write_layout, write_package
from qnas_ov.families import FAMILIES, Supernet
from qnas_ov.ir import CandidateBuilder, save_ir
from qnas_ov.tasks import Task, image_preprocessing

F32 = {"INFERENCE_PRECISION_HINT": "f32"}


def test_a_subnetwork_gives_what_its_ir_gives(
    tiny_supernet: Supernet, tiny_builder: CandidateBuilder, digits: Task, tmp_path: Path, rng: np.random.Generator
) -> None:
    from optimum.intel import OVModelForImageClassification

    candidate = tiny_builder.candidate(tiny_builder.space.sample(rng, 1)[0])
    model = tiny_builder.build(candidate)
    config, _ = FAMILIES.get("vit").subnetwork_config(tiny_supernet.config, candidate.architecture)
    path = save_ir(model, tmp_path / "m.xml")
    target = write_package(tmp_path / "p", model=path, config=config, preprocessor=None, manifest={})
    loaded = OVModelForImageClassification.from_pretrained(target, ov_config=F32)
    images = digits.test.inputs["pixel_values"][:20]
    logits = loaded(pixel_values=torch.from_numpy(images)).logits.numpy()
    expected = ov.Core().compile_model(model, "CPU", F32)(images)[0]
    assert (logits.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("batch", [None, 1])
def test_it_classifies_images(image_candidate: Path, tmp_path: Path, batch: int | None) -> None:
    package = tmp_path / "p"
    write_layout(
        image_candidate, package, format="optimum", inputs=InputSettings(batch=batch), read_steps=image_preprocessing
    )
    # Without torchvision AutoImageProcessor cannot be used at all; the classes that end in Pil can.
    processor = ViTImageProcessorPil.from_pretrained(package)
    model = OVModelForImageClassification.from_pretrained(package, ov_config=F32)
    classify = pipeline("image-classification", model=model, image_processor=processor)
    samples = read_samples(package / "samples.npz")
    pixels = np.stack([processor(picture(40 + i, 50, seed=i))["pixel_values"][0] for i in range(len(samples))])
    np.testing.assert_allclose(pixels, samples.inputs["pixel_values"], atol=1e-5)
    for i, outputs in enumerate(samples.outputs):
        best = classify(Image.fromarray(picture(40 + i, 50, seed=i)))[0]
        assert best["label"] == f"kind {outputs.argmax()}"


def test_it_classifies_sentences(text_candidate: Path, tmp_path: Path) -> None:
    package = tmp_path / "p"
    write_layout(text_candidate, package, format="optimum")
    model = OVModelForSequenceClassification.from_pretrained(package, ov_config=F32)
    classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(package))
    labels, samples = ["bad", "good", "dull"], read_samples(package / "samples.npz")
    wanted = [labels[i] for i in samples.outputs.argmax(1)]
    assert len(set(wanted)) == 3
    assert [found["label"] for found in classify(SENTENCES)] == wanted
