"""Opening a user's network: what comes back, and which sentence a network that does not fit gets."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13 as opset

from qnas_ov.core.errors import InputError
from qnas_ov.families import InputSpec
from qnas_ov.ir.read import OpenedNetwork, open_network

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TEXT_SHAPES = {name: (1, 6) for name in ("input_ids", "attention_mask", "token_type_ids")}
LABELS = ("red", "green", "blue")
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def refused(path: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> str:
    """The one sentence with which a network is refused."""
    with pytest.raises(InputError) as caught:
        open_network(path, shapes)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert str(path) in text
    assert not re.search(r"\n|\.\s|\.$|src/|[ch]pp|Exception|Traceback", text), text
    return text


def classifier(shape: Sequence[int] = (1, 4)) -> ov.Model:
    """One linear layer with three classes."""
    x = opset.parameter(list(shape), np.float32, name="x")
    x.output(0).get_tensor().set_names({"x"})
    return ov.Model([opset.result(opset.matmul(x, opset.constant(WEIGHTS), False, False))], [x], "linear")


def graph(outputs: Sequence[ov.Node], inputs: Sequence[ov.Node]) -> ov.Model:
    for node in inputs:
        node.output(0).get_tensor().set_names({node.get_friendly_name()})
    return ov.Model([opset.result(o) for o in outputs], list(inputs), "graph")


def save(model: ov.Model, path: Path, *, fp16: bool = False) -> Path:
    ov.save_model(model, path, compress_to_fp16=fp16)
    return path


def save_onnx(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, np.ndarray] | None = None,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(n, dtype, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, dtype, s) for n, s in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def linear_onnx(path: Path, batch: int | str = "N") -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return save_onnx(path, nodes, {"x": [batch, 4]}, {"y": [batch, 3]}, {"w": WEIGHTS})


def infer(model: ov.Model, *arrays: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(list(arrays))[0])


def batch_of(opened: OpenedNetwork) -> list[str]:
    return [str(p.get_partial_shape()[0]) for p in (*opened.model.inputs, *opened.model.outputs)]


def element_types(model: ov.Model) -> set[str]:
    return {o.get_element_type().get_type_name() for node in model.get_ops() for o in node.outputs()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints with random weights: "bert" in FP16, "vit" in FP32, "features" without a head."""
    from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification, ViTModel

    root = tmp_path_factory.mktemp("checkpoints")
    bert = BertConfig(vocab_size=50, max_position_embeddings=32, id2label=dict(enumerate(LABELS)), **TINY)
    vit = ViTConfig(image_size=8, patch_size=4, num_channels=3, num_labels=5, **TINY)
    BertForSequenceClassification(bert).half().save_pretrained(root / "bert")
    ViTForImageClassification(vit).save_pretrained(root / "vit")
    (root / "vit" / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5, 0.5, 0.5]}))
    ViTModel(vit).save_pretrained(root / "features")
    return root


@pytest.fixture
def checkpoint(folders: Path, tmp_path: Path) -> Path:
    """A copy of the ViT that a test may damage."""
    return Path(shutil.copytree(folders / "vit", tmp_path / "vit"))


def change_config(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **entries}))


def test_an_ir_is_opened_and_its_batch_becomes_dynamic(tmp_path: Path, rng: np.random.Generator) -> None:
    opened = open_network(save(classifier(), tmp_path / "linear.xml"))
    assert opened.inputs == (InputSpec("x", (4,), "float32"),)
    assert (opened.num_classes, opened.dynamic_batch, opened.transformer) == (3, True, False)
    assert (opened.config, opened.preprocessor, opened.labels) == (None, None, ())
    assert batch_of(opened) == ["?", "?"]
    x = rng.normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(infer(opened.model, x), x @ WEIGHTS, rtol=1e-5, atol=1e-6)


def test_an_onnx_is_opened(tmp_path: Path, rng: np.random.Generator) -> None:
    opened = open_network(linear_onnx(tmp_path / "linear.onnx", 1))
    assert opened.inputs == (InputSpec("x", (4,), "float32"),)
    assert (opened.num_classes, opened.dynamic_batch) == (3, True)
    x = rng.normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(infer(opened.model, x), x @ WEIGHTS, rtol=1e-5, atol=1e-6)


def test_the_file_may_be_overwritten_while_the_network_is_used(tmp_path: Path) -> None:
    """A memory-mapped .bin that shrinks would end the process with SIGBUS."""
    path = save(graph_with_much_weight(), tmp_path / "wide.xml")
    opened = open_network(path)
    path.with_suffix(".bin").write_bytes(b"")
    assert infer(opened.model, np.ones((1, 256), np.float32)).shape == (1, 256)


def graph_with_much_weight() -> ov.Model:
    x = opset.parameter([1, 256], np.float32, name="x")
    weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    return graph([opset.matmul(x, opset.constant(weights), False, False)], [x])


def test_a_static_batch_may_become_dynamic(tmp_path: Path) -> None:
    assert open_network(save(classifier((8, 4)), tmp_path / "linear.xml")).dynamic_batch


def test_a_batch_that_is_baked_in_stays_one(tmp_path: Path) -> None:
    class Baked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(1, 12).relu()

    model = ov.convert_model(Baked(), example_input=torch.zeros(1, 3, 4))
    model.reshape([1, 3, 4])
    opened = open_network(save(model, tmp_path / "baked.xml"))
    assert not opened.dynamic_batch
    assert opened.inputs[0].shape == (3, 4)
    assert batch_of(opened) == ["1", "1"]
    assert opened.num_classes == 12


def test_samples_that_meet_within_a_batch_keep_it_at_one(tmp_path: Path) -> None:
    """All shapes follow the batch; only values tell that the graph subtracts the mean over it."""
    x = opset.parameter([-1, 4], np.float32, name="x")
    mean = opset.reduce_mean(x, opset.constant([0], np.int64), keep_dims=True)
    opened = open_network(save(graph([opset.subtract(x, mean)], [x]), tmp_path / "mean.xml"))
    assert not opened.dynamic_batch
    assert batch_of(opened) == ["1", "1"]


def test_every_output_must_follow_the_batch(tmp_path: Path) -> None:
    x = opset.parameter([1, 4], np.float32, name="x")
    total = opset.reduce_sum(x, opset.constant([0], np.int64), keep_dims=True)
    assert not open_network(save(graph([opset.relu(x), total], [x]), tmp_path / "total.xml")).dynamic_batch


def test_integer_inputs_and_several_of_them(tmp_path: Path) -> None:
    ids = opset.parameter([-1, 6], np.int64, name="ids")
    mask = opset.parameter([-1, 6], np.bool_, name="mask")
    table = opset.constant(np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32))
    taken = opset.gather(table, ids, opset.constant(0, np.int64))
    kept = opset.multiply(taken, opset.unsqueeze(opset.convert(mask, "f32"), opset.constant(2, np.int64)))
    opened = open_network(save(graph([kept], [ids, mask]), tmp_path / "ids.xml"))
    assert opened.inputs == (InputSpec("ids", (6,), "int64"), InputSpec("mask", (6,), "bool"))
    assert opened.dynamic_batch
    assert opened.num_classes is None


def test_shapes_fix_dynamic_axes(tmp_path: Path) -> None:
    a, b = (opset.parameter([-1, -1, 2], np.float32, name=n) for n in "ab")
    path = save(graph([opset.add(a, b)], [a, b]), tmp_path / "add.xml")
    opened = open_network(path, {"a": (1, 5, 2), "b": (-1, 5, 2)})
    assert [i.shape for i in opened.inputs] == [(5, 2), (5, 2)]
    assert [str(p.get_partial_shape()) for p in opened.model.inputs] == ["[?,5,2]", "[?,5,2]"]


def test_a_shape_without_a_name_is_that_of_the_only_input(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = save_onnx(tmp_path / "relu.onnx", nodes, {"x": ["N", "C"]}, {"y": ["N", "C"]})
    assert open_network(path, {"": (1, 7)}).inputs == (InputSpec("x", (7,), "float32"),)


def test_ports_without_a_name_get_one(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "linear.xml")
    path.write_text(re.sub(r' names="[^"]*"', "", path.read_text()))
    opened = open_network(path)
    assert opened.inputs == (InputSpec("x", (4,), "float32"),)
    assert opened.model.inputs[0].get_any_name() == "x"
    assert opened.model.outputs[0].get_any_name()


@pytest.mark.parametrize("kind", ["ir", "onnx"])
def test_weights_in_fp16_become_fp32_constants(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    if kind == "ir":
        path = save(classifier(), tmp_path / "half.xml", fp16=True)
    else:
        nodes = [helper.make_node("Cast", ["h"], ["w"], to=1), helper.make_node("MatMul", ["x", "w"], ["y"])]
        half = {"h": WEIGHTS.astype(np.float16)}
        path = save_onnx(tmp_path / "half.onnx", nodes, {"x": ["N", 4]}, {"y": ["N", 3]}, half)
    stored = ov.Core().read_model(path)
    assert "f16" in element_types(stored)
    opened = open_network(path)
    assert "f16" not in element_types(opened.model)
    assert not [n for n in opened.model.get_ops() if n.get_type_name() == "Convert"]
    x = rng.normal(size=(1, 4)).astype(np.float32)
    np.testing.assert_allclose(infer(opened.model, x), infer(stored, x), rtol=1e-6)


@pytest.mark.parametrize("passes", [(), ("Reshape",)])
def test_softmax_times_an_activation_is_a_transformer(passes: tuple[str, ...], tmp_path: Path) -> None:
    x = opset.parameter([-1, 5, 4], np.float32, name="x")
    scores = opset.softmax(opset.matmul(x, x, False, True), 2)
    if passes:
        scores = opset.reshape(scores, opset.constant([0, 5, 5], np.int64), special_zero=True)
    assert open_network(save(graph([opset.matmul(scores, x, False, False)], [x]), tmp_path / "a.xml")).transformer


def test_softmax_times_weights_is_no_transformer(tmp_path: Path) -> None:
    x = opset.parameter([-1, 4], np.float32, name="x")
    y = opset.matmul(opset.softmax(x, 1), opset.constant(WEIGHTS), False, False)
    assert not open_network(save(graph([y], [x]), tmp_path / "a.xml")).transformer


@pytest.fixture
def log_records() -> Iterator[list[logging.LogRecord]]:
    """What the loggers of transformers and optimum let through; they propagate nothing."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    loggers = [logging.getLogger(name) for name in ("transformers", "optimum")]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)


def test_a_folder_with_a_text_classifier(folders: Path) -> None:
    opened = open_network(folders / "bert", TEXT_SHAPES)
    assert opened.inputs == tuple(InputSpec(name, (6,), "int64") for name in TEXT_SHAPES)
    assert (opened.num_classes, opened.dynamic_batch, opened.transformer) == (3, True, True)
    assert opened.labels == LABELS
    assert opened.config is not None
    assert opened.config["model_type"] == "bert"
    assert opened.preprocessor is None
    assert "f16" not in element_types(opened.model)


def test_a_folder_with_an_image_classifier(folders: Path, rng: np.random.Generator) -> None:
    from transformers import ViTForImageClassification

    opened = open_network(folders / "vit", {"": (1, 3, 8, 8)})
    assert opened.inputs == (InputSpec("pixel_values", (3, 8, 8), "float32"),)
    assert (opened.num_classes, opened.dynamic_batch, opened.transformer) == (5, True, True)
    assert opened.labels == tuple(f"LABEL_{i}" for i in range(5))
    assert opened.preprocessor == {"image_mean": [0.5, 0.5, 0.5]}
    pixels = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = ViTForImageClassification.from_pretrained(folders / "vit").eval()(torch.from_numpy(pixels)).logits
    np.testing.assert_allclose(infer(opened.model, pixels), wanted.numpy(), atol=1e-4)


def test_a_head_of_another_task_is_left_out_without_a_word(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    log_records: list[logging.LogRecord],
) -> None:
    from transformers import BertConfig, BertForMaskedLM

    BertForMaskedLM(BertConfig(vocab_size=50, max_position_embeddings=32, **TINY)).save_pretrained(tmp_path / "lm")
    capfd.readouterr()
    opened = open_network(tmp_path / "lm", TEXT_SHAPES)
    assert str(opened.model.outputs[0].get_partial_shape()) == "[?,6,16]"
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert not log_records


def test_a_folder_without_a_head_gives_features(folders: Path) -> None:
    opened = open_network(folders / "features", {"": (1, 3, 8, 8)})
    assert opened.num_classes is None
    assert opened.labels == ()
    assert str(opened.model.outputs[0].get_partial_shape()) == "[?,5,16]"


def test_a_folder_that_holds_an_ir_is_read_as_it_is(tmp_path: Path) -> None:
    save(classifier(), tmp_path / "openvino_model.xml")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(LABELS))}))
    opened = open_network(tmp_path)
    assert opened.inputs == (InputSpec("x", (4,), "float32"),)
    assert opened.labels == LABELS


def test_labels_that_are_not_one_per_class_are_left_out(tmp_path: Path) -> None:
    save(classifier(), tmp_path / "openvino_model.xml")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "no", "1": "yes"}}))
    assert open_network(tmp_path).labels == ()


def test_a_sharded_checkpoint_is_opened(checkpoint: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    names = sorted(tensors)
    parts = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    for part, held in parts.items():
        save_file({n: tensors[n] for n in held}, checkpoint / part, metadata={"format": "pt"})
    (checkpoint / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {n: part for part, held in parts.items() for n in held}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert open_network(checkpoint, {"": (1, 3, 8, 8)}).num_classes == 5


@pytest.mark.parametrize("name", ["nowhere.xml", "nowhere.onnx", "nowhere"])
def test_a_path_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / name)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"1")
    text = refused(tmp_path / "model.pt")
    assert ".xml" in text
    assert ".onnx" in text
    assert "suffix" in text


def test_an_ir_without_its_bin_is_refused(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "linear.xml")
    path.with_suffix(".bin").unlink()
    assert "'linear.bin' must lie beside it" in refused(path)


@pytest.mark.parametrize("length", [0, 10])
def test_an_ir_with_a_short_bin_is_refused(length: int, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "linear.xml")
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:length])
    assert f"needs 48 bytes of weights and 'linear.bin' has {length}" in refused(path)


def test_a_network_without_weights_needs_none(tmp_path: Path) -> None:
    x = opset.parameter([1, 4], np.float32, name="x")
    assert open_network(save(graph([opset.relu(x)], [x]), tmp_path / "relu.xml")).num_classes == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "damaged or cut short"),
        (lambda text: "", "damaged or cut short"),
        (lambda text: "no XML at all", "damaged or cut short"),
        (lambda text: "<html><body/></html>", "must hold a <net> and holds a <html>"),
        (lambda text: text.replace('size="48"', 'size="many"'), "damaged or cut short"),
        (lambda text: text.replace('version="11"', 'version="99"'), "version that OpenVINO"),
        (lambda text: text.replace('type="MatMul"', 'type="MatFoo"'), "MatFoo"),
    ],
)
def test_a_damaged_or_foreign_xml_is_refused(change: Any, words: str, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "linear.xml")
    path.write_text(change(path.read_text()))
    assert words in refused(path)


@pytest.mark.parametrize("content", [b"", bytes(300), b"hello world\n" * 30, bytes(range(256)) * 3, None])
def test_a_damaged_or_foreign_onnx_is_refused(
    content: bytes | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = linear_onnx(tmp_path / "linear.onnx")
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    assert "cannot read" in refused(path)
    assert capfd.readouterr() == ("", "")


def test_an_onnx_without_its_external_weights_is_refused(tmp_path: Path) -> None:
    path = linear_onnx(tmp_path / "linear.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="linear.data", size_threshold=0)
    assert open_network(path).num_classes == 3
    (tmp_path / "linear.data").write_bytes(b"short")
    assert "'linear.data'" in refused(path)
    (tmp_path / "linear.data").unlink()
    assert "'linear.data'" in refused(path)


def test_unsupported_operations_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Fancy", ["x"], ["z"], domain="acme"),
        helper.make_node("StringNormalizer", ["z"], ["y"]),
    ]
    text = refused(save_onnx(tmp_path / "a.onnx", nodes, {"x": ["N", 4]}, {"y": ["N", 4]}))
    assert "does not support its operations of type" in text
    assert "acme.Fancy" in text
    assert re.search(r"StringNormalizer[,;]", text)


def test_a_network_without_input_or_output_is_refused(tmp_path: Path) -> None:
    x = opset.parameter([1, 4], np.float32, name="x")
    assert "it has no output" in refused(save(ov.Model([], [x], "a"), tmp_path / "a.xml"))
    constant = opset.relu(opset.constant(WEIGHTS))
    assert "it has no input" in refused(save(ov.Model([opset.result(constant)], [], "b"), tmp_path / "b.xml"))


def test_strings_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = save_onnx(tmp_path / "a.onnx", nodes, {"x": ["N", 4]}, {"y": ["N", 4]}, dtype=TensorProto.STRING)
    assert "'x' takes strings" in refused(path)


@pytest.mark.parametrize(
    ("shape", "example"),
    [([-1, 3, -1, -1], "--shape 'x[1,3,224,224]'"), ([-1, -1], "--shape 'x[1,128]'"), (None, "--shape 'x[1,")],
)
def test_dynamic_axes_are_named_with_an_example(shape: list[int] | None, example: str, tmp_path: Path) -> None:
    x = opset.parameter(ov.PartialShape.dynamic() if shape is None else ov.PartialShape(shape), np.float32, name="x")
    text = refused(save(graph([opset.relu(x)], [x]), tmp_path / "a.xml"))
    assert f"'x' {x.get_output_partial_shape(0)}" in text
    assert example in text


def test_the_image_size_of_a_folder_needs_no_shape(checkpoint: Path) -> None:
    assert open_network(checkpoint).inputs == (InputSpec("pixel_values", (3, 8, 8), "float32"),)
    change_config(checkpoint, image_size=[8, 8])
    assert open_network(checkpoint).inputs[0].shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"y": (1, 5, 2)}, "has no input 'y' to give a shape: its inputs are 'x'"),
        ({"x": (1, 5)}, "must keep the number of axes"),
        ({"x": (1, 5, 3)}, "must keep the number of axes and those that are fixed"),
        ({"x": (4, 5, 2)}, "1 or -1 for the batch"),
        ({"x": (1, -1, 2)}, "a length of at least 1"),
        ({"x": ()}, "1 or -1 for the batch"),
        ({"x": (1, 5, 2), "": (1, 5, 2)}, "have a shape already"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]], words: str, tmp_path: Path) -> None:
    x = opset.parameter([-1, -1, 2], np.float32, name="x")
    assert words in refused(save(graph([opset.relu(x)], [x]), tmp_path / "a.xml"), shapes)


def test_a_shape_without_a_name_is_that_of_all_others(tmp_path: Path) -> None:
    a, b, c = (opset.parameter([-1, -1], np.float32, name=n) for n in "abc")
    path = save(graph([opset.add(opset.add(a, b), opset.reduce_sum(c, 1, True))], [a, b, c]), tmp_path / "a.xml")
    opened = open_network(path, {"c": (1, 7), "": (1, 2)})
    assert {i.name: i.shape for i in opened.inputs} == {"a": (2,), "b": (2,), "c": (7,)}
    assert "'a' of" in refused(path, {"c": (1, 7), "": (1, 2, 3)})


def test_shapes_that_the_graph_cannot_take_are_refused(tmp_path: Path) -> None:
    x = opset.parameter([-1, -1], np.float32, name="x")
    path = save(graph([opset.matmul(x, opset.constant(WEIGHTS), False, False)], [x]), tmp_path / "a.xml")
    text = refused(path, {"x": (1, 9)})
    assert "does not run with inputs 'x' [1,9]" in text
    assert open_network(path, {"x": (1, 4)}).dynamic_batch


def test_an_input_without_a_batch_axis_is_refused(tmp_path: Path) -> None:
    x = opset.parameter([], np.float32, name="x")
    assert "must be the batch: 'x'" in refused(save(graph([opset.relu(x)], [x]), tmp_path / "a.xml"))


def test_a_baked_batch_other_than_one_is_refused(tmp_path: Path) -> None:
    x = opset.parameter([8, 4], np.float32, name="x")
    y = opset.reshape(x, opset.constant([8, 2, 2], np.int64), special_zero=False)
    text = refused(save(graph([y], [x]), tmp_path / "a.xml"))
    assert "input 'x'" in text
    assert "a batch of 8" in text


def compressed_weights(dtype: str, *, zero_point: bool) -> ov.Node:
    weights = opset.convert(opset.constant(np.ones((4, 4), np.int8), dtype=getattr(ov.Type, dtype)), "f32")
    if zero_point:
        weights = opset.subtract(weights, opset.constant(np.float32(1)))
    return opset.multiply(weights, opset.constant(np.full((1, 4), 0.5, np.float32)))


@pytest.mark.parametrize("dtype", ["i8", "u8", "i4", "u4", "nf4", "f8e4m3"])
@pytest.mark.parametrize("zero_point", [False, True])
def test_compressed_weights_are_refused(dtype: str, zero_point: bool, tmp_path: Path) -> None:
    x = opset.parameter([-1, 4], np.float32, name="x")
    y = opset.matmul(x, compressed_weights(dtype, zero_point=zero_point), False, False)
    assert "quantized already" in refused(save(graph([y], [x]), tmp_path / "a.xml"))


def test_compressed_embeddings_are_refused(tmp_path: Path) -> None:
    x = opset.parameter([-1, 4], np.int64, name="x")
    y = opset.gather(compressed_weights("u8", zero_point=True), x, opset.constant(0, np.int64))
    assert "quantized already" in refused(save(graph([y], [x]), tmp_path / "a.xml"))


def test_a_fake_quantize_is_refused(tmp_path: Path) -> None:
    x = opset.parameter([-1, 4], np.float32, name="x")
    low, high = opset.constant(np.float32(-1)), opset.constant(np.float32(1))
    y = opset.fake_quantize(x, low, high, low, high, 256)
    y.set_friendly_name("the/quantizer")
    text = refused(save(graph([y], [x]), tmp_path / "a.xml"))
    assert "quantized already" in text
    assert "'the/quantizer'" in text


@pytest.mark.parametrize("activations", [True, False])
def test_a_quantized_onnx_is_refused(activations: bool, tmp_path: Path) -> None:
    constants = {"s": np.float32(0.1), "z": np.int8(0), "q": np.ones((4, 3), np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"]),
        helper.make_node("MatMul", ["xd" if activations else "x", "w"], ["y"]),
    ]
    path = save_onnx(
        tmp_path / "a.onnx",
        nodes if activations else nodes[2:],
        {"x": ["N", 4]},
        {"y": ["N", 3]},
        {n: np.asarray(v) for n, v in constants.items()},
    )
    assert "quantized already" in refused(path)


def test_integer_constants_of_other_uses_are_no_quantization(tmp_path: Path) -> None:
    x = opset.parameter([-1, 4], np.float32, name="x")
    offset = opset.convert(opset.constant(np.ones((1, 4), np.uint8)), "f32")
    y = opset.matmul(opset.add(x, offset), opset.constant(WEIGHTS), False, False)
    assert open_network(save(graph([y], [x]), tmp_path / "a.xml")).num_classes == 3


def test_a_network_that_computes_in_half_precision_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    half = {"w": WEIGHTS.astype(np.float16)}
    path = save_onnx(tmp_path / "a.onnx", nodes, {"x": ["N", 4]}, {"y": ["N", 3]}, half, dtype=TensorProto.FLOAT16)
    assert "must compute in FP32" in refused(path)


def test_a_pickle_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    text = refused(checkpoint)
    assert "'pytorch_model.bin' is a pickle" in text
    assert "never read" in text
    (checkpoint / "model.safetensors.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    assert "it names 'pytorch_model.bin'" in refused(checkpoint)


def test_code_of_a_folder_is_never_run(checkpoint: Path) -> None:
    change_config(checkpoint, model_type="special", auto_map={"AutoConfig": "code.Config"})
    (checkpoint / "code.py").write_text("raise SystemExit('it ran')")
    assert "code of its own (auto_map), which is not run: read it, then allow it with --trust-remote-code" in refused(
        checkpoint
    )


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_config_is_refused(content: str, checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text(content)
    assert "config.json" in refused(checkpoint)


@pytest.mark.parametrize(
    ("missing", "words"),
    [("config.json", "must hold config.json"), ("model.safetensors", "must hold openvino_model.xml or model")],
)
def test_a_folder_that_lacks_a_file_is_refused(missing: str, words: str, checkpoint: Path) -> None:
    (checkpoint / missing).unlink()
    assert words in refused(checkpoint)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized already"),
        ({"num_hidden_layers": 2}, "16 are missing or of another shape, such as 'vit.encoder.layer.1"),
        ({"intermediate_size": 64}, "3 are missing or of another shape"),
        ({"model_type": "unheard-of"}, "model type `unheard-of`"),
        ({"hidden_size": "many"}, "hidden_size"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(entries: dict[str, Any], words: str, checkpoint: Path) -> None:
    change_config(checkpoint, **entries)
    assert words in refused(checkpoint)


def test_truncated_safetensors_are_refused(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "cannot load the checkpoint" in refused(checkpoint)


def test_a_network_that_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "gpt2")
    text = refused(tmp_path / "gpt2")
    assert "cannot export" in text
    assert "no padding token is defined" in text
