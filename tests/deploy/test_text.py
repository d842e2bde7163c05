"""A tokenizer in the network, or beside it, gives the tokens of the checkpoint's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from candidates import SENTENCES, TOKENS
from transformers import AutoTokenizer

from qnas_ov.core.errors import InputError
from qnas_ov.deploy import InputSettings, open_network, read_manifest, read_samples, write_layout
from qnas_ov.pipeline import verify_package
from qnas_ov.pipeline._samples import rescore

TEXTS = [
    *SENTENCES,
    "",
    "   The  CAT\twas\n'unhappy' ... ",
    "the film " * 30,
    "Café É é ﬁlm – “good” 7 77 $5",
    "漢字 is good",
    "[MASK] the [SEP] dog",
    "un-happy catss unhappyly",
]


def own_tokens(folder: Path) -> dict[str, np.ndarray]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = tokenizer(TEXTS, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="np")
    return {name: array.astype(np.int64) for name, array in found.items()}


def compiled(path: Path) -> ov.CompiledModel:
    core, model = open_network(path)
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def test_the_tokenizer_beside_the_network_gives_the_same_tokens(text_candidate: Path, tmp_path: Path) -> None:
    manifest = write_layout(text_candidate, tmp_path / "p", format="ir")
    assert manifest["layout"]["tokenizer"] == "openvino_tokenizer.xml"
    wanted = own_tokens(tmp_path / "p")
    found = compiled(tmp_path / "p" / "openvino_tokenizer.xml")(np.array(TEXTS))
    for port, array in found.items():
        np.testing.assert_array_equal(array, wanted[port.get_any_name()])


def test_a_network_takes_text(text_candidate: Path, tmp_path: Path) -> None:
    manifest = write_layout(
        text_candidate, tmp_path / "p", format="ir", inputs=InputSettings(embed=True), rescore=rescore
    )
    layout = manifest["layout"]
    assert layout["inputs"] == [{"name": "text", "dtype": "string", "shape": [-1]}]
    assert (layout["preprocessing"], layout["tokenizer"]) == ({"kind": "text", "max_length": TOKENS}, None)
    found = compiled(tmp_path / "p" / "model.xml")(np.array(TEXTS))[0]
    wanted = compiled(text_candidate / "openvino_model.xml")(own_tokens(text_candidate))[0]
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert len(set(found.argmax(1))) == 3


def test_a_fixed_batch_takes_tokens(text_candidate: Path, tmp_path: Path) -> None:
    manifest = write_layout(text_candidate, tmp_path / "p", format="ovms", inputs=InputSettings(batch=5))
    assert manifest["layout"]["inputs"][0]["shape"] == [5, TOKENS]
    assert manifest["layout"]["notes"][0].startswith("its tokenizer lies beside it: ")
    assert manifest["layout"]["tokenizer"] in manifest["files"]
    assert verify_package(tmp_path / "p").repeated is not None
    with pytest.raises(InputError, match="takes any number of texts, and its batch is fixed"):
        write_layout(text_candidate, tmp_path / "q", format="ovms", inputs=InputSettings(batch=1, embed=True))


@pytest.mark.parametrize(
    ("format", "text"), [("ovms", True), ("kserve", True), ("triton", False), ("ir", False), ("optimum", False)]
)
def test_every_format_has_the_tokenizer_in_some_form(
    text_candidate: Path, tmp_path: Path, format: str, text: bool
) -> None:
    manifest = write_layout(text_candidate, tmp_path / "p", format=format, name="net", rescore=rescore)
    files = set(manifest["files"])
    assert {"tokenizer.json", "tokenizer_config.json", "vocab.txt"} <= files
    assert ("openvino_tokenizer.bin" in files) == (not text and format != "optimum")
    assert ([t["name"] for t in manifest["layout"]["inputs"]] == ["text"]) == text
    assert ("config.json" in files) == (format in ("optimum", "ovms"))
    if format == "kserve":
        assert "openvino-tokenizers>=" in (tmp_path / "p" / "net" / "requirements.txt").read_text()
    assert verify_package(tmp_path / "p").repeated is not None


def test_samples_become_text_where_that_is_exact(text_candidate: Path, tmp_path: Path) -> None:
    manifest = write_layout(text_candidate, tmp_path / "p", format="kserve", rescore=rescore)
    before, after = read_samples(text_candidate / "samples.npz"), read_samples(tmp_path / "p" / "samples.npz")
    texts = [str(text) for text in after.inputs["text"]]
    unknown = 1  # the token of words that the vocabulary lacks: such samples do not come back
    kept = ~(before.inputs["input_ids"] == unknown).any(axis=1)
    assert 0 < kept.sum() < len(before)
    assert len(texts) == manifest["samples"]["count"] == kept.sum()
    np.testing.assert_array_equal(after.outputs, before.outputs[kept])
    assert manifest["samples"]["value"] == np.mean(after.outputs.argmax(1) == after.target)
    assert read_manifest(text_candidate)["samples"]["count"] == len(before)
    repeated = verify_package(tmp_path / "p").repeated
    assert repeated is not None
    assert (repeated.changed_top1, repeated.num_samples) == (0, len(texts))


def spoil(source: Path, folder: Path, **files: Any) -> Path:
    """A copy of a candidate with other files."""
    import json

    from qnas_ov.core.fingerprint import digest_file

    shutil.copytree(source, folder)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: digest_file(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_tokenizer_that_cannot_be_used_is_said_or_refused(text_candidate: Path, tmp_path: Path) -> None:
    source = spoil(text_candidate, tmp_path / "deploy" / "c1", tokenizer__json="{}", tokenizer_config__json="{}")
    manifest = write_layout(source, tmp_path / "deploy" / "p", format="ovms")
    (note,) = manifest["layout"]["notes"]
    assert note.startswith("its preprocessing is left to the client: its tokenizer cannot be converted: ")
    assert manifest["layout"]["inputs"][0]["name"] == "input_ids"
    with pytest.raises(InputError, match="--embed-preprocessing cannot be done: its tokenizer cannot be converted: "):
        write_layout(source, tmp_path / "q", format="ovms", inputs=InputSettings(embed=True))
    assert [p.name for p in tmp_path.iterdir()] == ["deploy"]
