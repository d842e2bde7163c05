"""Data as people have them, loaded for networks as people have them, and searched."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import openvino as ov
import pandas as pd
import pytest
from data_files import (
    COLOURS,
    WORDS,
    bert_folder,
    flat_folder,
    image_folder,
    reviews,
    sentence,
    vit_folder,
    write_csv,
    write_lines,
    write_tokenizer,
)
from openvino import opset13 as ops
from PIL import Image
from sklearn.datasets import load_digits

from qnas_ov.core.errors import InputError, QnasError
from qnas_ov.families import read_json
from qnas_ov.ir import save_ir
from qnas_ov.ir.formats import read_network
from qnas_ov.measure import predict_outputs
from qnas_ov.pipeline import run_search, run_sensitivity, verify_package
from qnas_ov.pipeline._data import load_task
from qnas_ov.pipeline._models import find_source
from qnas_ov.pipeline._samples import SampleRecorder
from qnas_ov.pipeline._setup import prepare_network, resolve
from qnas_ov.pipeline._verify import Finalist
from qnas_ov.recipe import Recipe, build_recipe
from qnas_ov.tasks import Task, image_preprocessing, top1

QUICK = {
    "evaluations": 8,
    "population": 4,
    "inner_evaluations": 200,
    "front_size": 1,
    "latency_seconds": 0.02,
    "final_rounds": 1,
    "algorithm": "random",
    "inference_precision": "f32",
}


def load(model: Path | str, data: Path | str, **settings: Any) -> tuple[Task, Recipe]:
    recipe = build_recipe({"model": str(model), "data": str(data), **settings})
    return load_task(find_source(recipe), recipe)


def exported(folder: Path) -> Path:
    """The folder as optimum-intel saves it, without weights of torch, which opens quickly."""
    save_ir(read_network(folder, read_json(folder / "config.json")), folder / "openvino_model.xml")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(vit_folder(tmp_path_factory.mktemp("vit") / "vit"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(bert_folder(tmp_path_factory.mktemp("bert") / "bert"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("images") / "images")


def embedder(folder: Path, width: int = 8) -> Path:
    """A network without configuration: the mean of random vectors of its tokens, with a tokenizer beside it."""
    write_tokenizer(folder)
    rng = np.random.default_rng(0)
    ids, mask = (ops.parameter([-1, -1], np.int64, name=name) for name in ("input_ids", "attention_mask"))
    for parameter, name in ((ids, "input_ids"), (mask, "attention_mask")):
        parameter.output(0).get_tensor().set_names({name})
    table = ops.constant(rng.normal(size=(5 + len(WORDS), 32)).astype(np.float32))
    vectors = ops.gather(table, ids, ops.constant(np.int64(0)))
    weights = ops.unsqueeze(ops.convert(mask, "f32"), ops.constant(np.int64(2)))
    total = ops.reduce_sum(ops.multiply(vectors, weights), ops.constant(np.int64(1)), False)
    mean = ops.divide(total, ops.reduce_sum(weights, ops.constant(np.int64(1)), False))
    hidden = ops.relu(ops.matmul(mean, ops.constant(rng.normal(size=(32, 32)).astype(np.float32)), False, False))
    out = ops.matmul(hidden, ops.constant(rng.normal(size=(32, width)).astype(np.float32)), False, False)
    out.output(0).get_tensor().set_names({"sentence_embedding"})
    return save_ir(ov.Model([ops.result(out)], [ids, mask], "embedder"), folder / "model.xml")


def pairs(count: int = 60) -> list[dict[str, object]]:
    """Pairs of sentences; the more words they share, the higher their score."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        words, other = rng.choice(WORDS[:12], 8), rng.choice(WORDS[:12], 8)
        shared = int(rng.integers(0, 9))
        mixed = np.where(np.arange(8) < shared, words, other)
        rows.append({"sentence1": " ".join(words), "sentence2": " ".join(mixed), "score": shared / 8})
    return rows


def test_images_by_class_become_what_the_network_wants(vit: Path, images: Path) -> None:
    task, recipe = load(vit, images)
    assert task.labels == ("red", "green", "blue")
    assert (task.metric.column, task.name, task.source) == ("accuracy_top1", "images", "images in the folder images")
    assert [len(getattr(task, n)) for n in ("calibration", "validation", "test")] == [10, 10, 9]
    assert "19 are kept for training" in task.notes[0]
    assert task.test.inputs["pixel_values"].shape == (9, 3, 16, 16)
    means = (task.test.inputs["pixel_values"].mean(axis=(2, 3)) + 1) * 127.5
    wanted = np.array([COLOURS[task.labels[i]] for i in task.test.labels])
    np.testing.assert_allclose(means, wanted, atol=12)
    steps = image_preprocessing(vit)
    with Image.open(images / "red" / "000.png") as image:
        one = steps.apply(image).tobytes()
    splits = (task.calibration, task.validation, task.test)
    known = [x.tobytes() for s in splits for x in s.inputs["pixel_values"]]
    assert len(set(known)) == 29
    assert known.count(one) <= 1
    assert load(vit, images, shape=recipe.shape)[0].digests() == task.digests()


def test_fewer_samples_where_they_are_asked_for(vit: Path, images: Path) -> None:
    task, _ = load(vit, images, max_samples=8)
    assert (len(task.calibration), len(task.validation), len(task.test)) == (10, 8, 8)


def test_images_of_digits_for_the_shipped_network(tmp_path: Path) -> None:
    data = load_digits()
    for i in range(400):
        folder = tmp_path / "digits" / str(data.target[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.images[i].astype(np.uint8)).save(folder / f"{i}.png")
    task, recipe = load("digits-vit", tmp_path / "digits")
    assert recipe.shape is None
    model = find_source(build_recipe({"model": "digits-vit"})).open({}).model
    outputs = predict_outputs(model, task.test.inputs, device="CPU", inference_precision="f32")[0]
    assert top1(outputs, task.test.labels).mean() > 0.95


def test_texts_become_tokens_of_one_length(bert: Path, tmp_path: Path) -> None:
    task, recipe = load(bert, write_csv(tmp_path / "reviews.csv", reviews()))
    assert recipe.shape == "[1,16]"
    assert task.labels == ("bad", "good")
    assert {n: a.shape for n, a in task.test.inputs.items()} == {
        n: (12, 16) for n in ("input_ids", "attention_mask", "token_type_ids")
    }
    lines = (bert / "vocab.txt").read_text().splitlines()
    known = {row["text"]: row["label"] for row in reviews()}
    for ids, label in zip(task.test.inputs["input_ids"], task.test.labels, strict=True):
        text = " ".join(lines[i] for i in ids if not lines[i].startswith("["))
        assert known[text] == task.labels[label]


def test_pairs_of_a_classifier_are_one_input(bert: Path, tmp_path: Path) -> None:
    rows = [{**row, "score": i % 2} for i, row in enumerate(pairs())]
    task, _ = load(bert, write_lines(tmp_path / "pairs.jsonl", rows), shape="[1,24]")
    assert (task.metric.column, task.test.rows) == ("accuracy_top1", 1)
    assert task.test.inputs["token_type_ids"].any(axis=1).all()


def test_pairs_with_scores_are_embedded_one_by_one(tmp_path: Path) -> None:
    model = embedder(tmp_path / "model")
    data = write_csv(tmp_path / "pairs.csv", pairs())
    task, recipe = load(model, data)
    assert (task.metric.column, recipe.shape, task.labels) == ("spearman_cosine", "[1,24]", ())
    assert (len(task.test), task.test.num_samples) == (24, 12)
    assert np.array_equal(task.test.labels[0::2], task.test.labels[1::2])
    result = run_sensitivity({"model": str(model), "data": str(data), "max_drop": 0.5}, latency=False)
    assert result.metric == "spearman_cosine"
    assert 0.3 < result.reference < 1.0
    assert 0.3 < result.all_int8 < 1.0


def test_sentences_without_scores_are_compared_by_their_cosine(tmp_path: Path) -> None:
    folder = exported(bert_folder(tmp_path / "model", embeds=True))
    data = write_lines(tmp_path / "pairs.jsonl", [{k: r[k] for k in ("sentence1", "sentence2")} for r in pairs(24)])
    task, _ = load(folder, data)
    assert (task.metric.column, len(task.test), task.test.rows) == ("cosine", 20, 1)
    assert any("float network" in note for note in task.notes)


def test_a_network_with_one_output_is_judged_by_its_order(tmp_path: Path) -> None:
    model = embedder(tmp_path / "model", width=1)
    rows = [{"text": sentence(np.random.default_rng(i)), "score": i / 7} for i in range(40)]
    assert load(model, write_csv(tmp_path / "scored.csv", rows))[0].metric.column == "spearman"


def test_labels_are_left_alone_by_a_metric_that_needs_none(vit: Path, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "unknown")
    (folder / "red").rename(folder / "crimson")
    task, _ = load(vit, folder, metric="agreement")
    assert (task.metric.column, task.test.labels) == ("agreement_top1", None)


@pytest.fixture
def own_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "def likeness(outputs, target):\n    return -abs(outputs - target).max(axis=1)\n"
    )
    monkeypatch.chdir(tmp_path)
    yield f"{name}:likeness"
    sys.modules.pop(name, None)


def test_a_package_names_no_code_of_the_user(vit: Path, tmp_path: Path, own_metric: str) -> None:
    """What `verify` repeats of a network that was judged by a user's own metric are its outputs."""
    settings = {"model": str(vit), "data": str(flat_folder(tmp_path / "flat")), "metric": own_metric}
    setup = resolve(settings)
    network = prepare_network(setup, _Silence())
    path = save_ir(network.bank.int8, tmp_path / "int8.xml")
    finalist = Finalist("int8", "f32", path, (), None, {}, "", baseline=True)
    samples, record = SampleRecorder(setup, network).record(finalist)
    assert (record["metric"], record["value"]) == ("fidelity", 1.0)
    assert np.array_equal(samples.target, samples.outputs)
    assert own_metric not in json.dumps(record)
    result = run_sensitivity(settings, latency=False)
    assert result.metric == "likeness"
    assert result.reference == 0.0 > result.all_int8


class _Silence:
    def say(self, text: str) -> None: ...
    def begin(self, text: str, total: int) -> None: ...
    def step(self, text: str = "", count: int = 1) -> None: ...
    def end(self) -> None: ...


def test_a_search_on_images_by_class(images: Path, tmp_path: Path) -> None:
    vit = vit_folder(tmp_path / "vit", layers=1)
    result = run_search({"model": str(vit), "data": str(images), **QUICK}, out=tmp_path / "run")
    assert result.metric == "accuracy_top1"
    candidate = str(result.front["candidate"][0])
    manifest = json.loads((tmp_path / "run" / "deploy" / candidate / "manifest.json").read_text())
    assert manifest["labels"] == ["red", "green", "blue"]
    assert manifest["data"]["name"] == "images"
    assert set(manifest["data"]["sha256"]) == {"calibration", "validation", "test"}
    assert "Of 48 samples in images" in (tmp_path / "run" / "report.html").read_text()
    assert verify_package(tmp_path / "run" / "deploy" / candidate).repeated is not None


def test_a_search_on_texts_by_a_metric_that_is_no_mean(tmp_path: Path) -> None:
    bert = bert_folder(tmp_path / "bert", layers=1)
    data = write_csv(tmp_path / "reviews.csv", reviews(80))
    settings = {"model": str(bert), "data": str(data), "metric": "matthews", **QUICK}
    result = run_search(settings, out=tmp_path / "run")
    assert result.metric == "matthews"
    for table in (result.front, result.baselines):
        assert (table["test_matthews_ci95_low"] <= table["test_matthews"]).all()
        assert (table["test_matthews"] <= table["test_matthews_ci95_high"]).all()
    # A network may call all texts one class, which the metric values 0 without any doubt.
    shown = pd.concat([result.front, result.baselines])
    assert (shown["test_matthews_ci95_high"] - shown["test_matthews_ci95_low"]).max() > 0.2
    assert result.front["test_p_vs_f32"].between(0, 1).all()
    f32 = result.baselines.set_index("baseline").loc["float-f32", "test_matthews"]
    np.testing.assert_allclose(result.front["test_delta_vs_f32"], result.front["test_matthews"] - f32)
    found = verify_package(tmp_path / "run" / "deploy" / str(result.front["candidate"][0])).repeated
    assert found is not None
    assert (found.metric, found.changed_top1) == ("matthews", 0)
    searched = pd.read_csv(tmp_path / "run" / "evaluations.csv")
    assert searched["matthews"].notna().any()


def test_images_without_classes(vit: Path, tmp_path: Path) -> None:
    data = flat_folder(tmp_path / "flat")
    result = run_sensitivity({"model": str(vit), "data": str(data), "max_error": 0.5}, latency=False)
    assert result.metric == "agreement_top1"
    assert result.num_samples == 10
    assert result.policy is not None


def broken_image(folder: Path) -> Path:
    image_folder(folder, per_class=20)
    for path in sorted((folder / "red").iterdir()):
        path.write_bytes(path.read_bytes()[:60])
    return folder


def long_text(path: Path) -> Path:
    return write_csv(path, [*reviews(40), *[{"text": "good " * 31, "label": "good"}] * 20])


def unlike(folder: Path) -> Path:
    image_folder(folder)
    (folder / "red").rename(folder / "rde")
    return folder


def scores(path: Path, value: str) -> Path:
    return write_csv(path, [{"text": "good", "score": value if i == 4 else i / 9} for i in range(50)])


def table(*rows: dict[str, Any]) -> Callable[[Path], Path]:
    """Writes a CSV of reviews and further rows."""
    return lambda path: write_csv(path.with_suffix(".csv"), [*reviews(), *rows])


def one_class(folder: Path) -> Path:
    return image_folder(folder, per_class=50, classes=["red"])


def scored(value: str) -> Callable[[Path], Path]:
    return lambda path: scores(path.with_suffix(".csv"), value)


BAD_DATA: dict[str, tuple[str, Callable[[Path], Path], dict[str, Any], list[str]]] = {
    "unreadable image": ("vit", broken_image, {}, ["cannot read the image", "red/", ".png"]),
    "unknown class": ("vit", unlike, {}, ["'rde'", "rde/000.png", "knows 'red', 'green', 'blue'", "'red'?"]),
    "one class only": ("vit", one_class, {}, ["two classes", "'red' only"]),
    "few images": ("vit", lambda p: image_folder(p, per_class=4), {}, ["at least 40 samples", "has 12"]),
    "texts for images": ("vit", table(), {}, ["tokenizer", "has none"]),
    "images for texts": ("bert", flat_folder, {}, ["no preprocessor_config.json", ".npz"]),
    "long text": (
        "bert", lambda p: long_text(p.with_suffix(".csv")), {}, ["32 positions", "row ", "33 tokens", "--truncate"],
    ),
    "text for a short shape": (
        "bert", table(), {"shape": "[1,4]"}, ["4 tokens", "row ", "longer --shape", "--truncate"],
    ),
    "unknown label": ("bert", table({"text": "a", "label": "god"}), {}, ["row 61", "'god'", "did you mean 'good'?"]),
    "number beyond the classes": (
        "bert", lambda p: write_csv(p.with_suffix(".csv"), [{"text": "a", "label": i % 3} for i in range(50)]), {},
        ["row 3", "has 2", "0 to 1"],
    ),
    "scores that are none": ("embedder", scored("nan"), {}, ["finite", "row 5", "'nan'"]),
    "words for scores": ("embedder", scored("high"), {"metric": "spearman"}, ["finite", "row 5", "'high'"]),
    "scores of single texts": ("embedder", scored("0.3"), {}, ["one vector for each of a pair", "--text-column"]),
    "another metric": ("vit", image_folder, {"metric": "f1"}, ["exactly 2 classes", "scores 3"]),
    "unknown metric": ("vit", image_folder, {"metric": "acuracy"}, ["unknown metric 'acuracy'", "'accuracy'?"]),
    "no such metric": ("vit", image_folder, {"metric": "nowhere_at_all:f"}, ["cannot import", "nowhere_at_all"]),
    "columns of images": ("vit", image_folder, {"label_column": "label"}, ["leave --text-column"]),
    "truncated images": ("vit", image_folder, {"truncate": True}, ["--truncate is for texts"]),
    "few samples": ("vit", image_folder, {"max_samples": 4}, ["max_samples", "greater than or equal to 8"]),
    "three columns": ("bert", table(), {"text_column": ["a", "b", "c"]}, ["--text-column", "3 (a, b, c)", "two"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def models(vit: Path, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"vit": vit, "bert": bert, "embedder": embedder(tmp_path_factory.mktemp("embedder") / "model")}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_one_sentence_and_leave_nothing(models: dict[str, Path], tmp_path: Path, case: str) -> None:
    model, write, settings, words = BAD_DATA[case]
    given = {"model": str(models[model]), "data": str(write(tmp_path / "data")), **QUICK, **settings}
    with pytest.raises(QnasError) as caught:
        run_search(given, out=tmp_path / "out")
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert [w for w in words if w not in message] == [], message
    assert not (tmp_path / "out").exists()


def test_a_registered_data_set_must_fit_the_network(vit: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"what '.*' reads, 'pixel_values' \[3, 16, 16\]: it holds .* \[1, 8, 8\]"):
        run_search({"model": str(vit), "dataset": "digits", **QUICK}, out=tmp_path / "out")
    other = checkpoints.vit_folder(tmp_path / "four", num_labels=4)
    with pytest.raises(InputError, match="it has 10 and the network scores 4"):
        run_search({"model": str(other), "dataset": "digits", **QUICK}, out=tmp_path / "out")
    task, _ = load_task(
        find_source(recipe := build_recipe({"model": str(other), "dataset": "digits", "metric": "agreement"})), recipe
    )
    assert task.metric.column == "agreement_top1"
    assert not (tmp_path / "out").exists()


def test_a_link_to_nowhere_is_an_unreadable_image(vit: Path, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "data")
    for path in (folder / "red").iterdir():
        path.unlink()
        path.symlink_to("nowhere.png")
    with pytest.raises(InputError, match=r"cannot read the image '.*\.png': No such file or directory; mend or remove"):
        load(vit, folder)


def test_long_texts_may_be_cut(bert: Path, tmp_path: Path) -> None:
    task, recipe = load(bert, long_text(tmp_path / "long.csv"), truncate=True)
    assert recipe.shape == "[1,32]"
    assert task.test.inputs["input_ids"].shape[1] == 32
    assert any("cut (--truncate)" in note for note in task.notes)


def test_an_unknown_name_lists_the_ways(vit: Path) -> None:
    recipe = build_recipe({"model": str(vit), "dataset": "digit"})
    with pytest.raises(QnasError, match=r"choose one of .*digits.*; did you mean 'digits'\?; an id of the hub"):
        load_task(find_source(recipe), recipe)


def test_a_path_is_no_name_of_a_data_set(vit: Path, images: Path) -> None:
    recipe = build_recipe({"model": str(vit), "dataset": str(images)})
    with pytest.raises(QnasError, match="is a path: give it with --data"):
        load_task(find_source(recipe), recipe)


def test_a_registered_data_set_is_judged_as_asked() -> None:
    recipe = build_recipe({"model": "digits-vit", "metric": "f1-macro", "max_samples": 100})
    task, _ = load_task(find_source(recipe), recipe)
    assert (task.metric.column, len(task.validation), len(task.test)) == ("f1_macro", 100, 100)
    assert len(task.notes) == 2
