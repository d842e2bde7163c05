"""Every layout is what its server loads; a wrong one is refused; the same input gives the same bytes."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from run_folders import LABELS, NUM_SAMPLES, classifier, write_candidate

from qnas_ov.core.errors import InputError, PackageError, QnasError, RunFolderError
from qnas_ov.core.fingerprint import digest_file
from qnas_ov.deploy import FORMATS, InputSettings, check_ovms, check_triton, read_manifest, read_samples, write_layout

CONFIG = {"model_type": "vit"}


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    return write_candidate(tmp_path / "deploy" / "c1", config=CONFIG)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


COMMON = {"manifest.json", "samples.npz", "preprocessor_config.json"}
NAMES = {
    "ovms": {"config.json", "labels.txt", "net/1/model.xml", "net/1/model.bin"},
    "triton": {"net/config.pbtxt", "net/labels.txt", "net/1/model.xml", "net/1/model.bin"},
    "kserve": {
        "net/model-settings.json", "net/openvino_runtime.py", "net/requirements.txt", "net/labels.txt",
        "net/model.xml", "net/model.bin",
    },
    "optimum": {"config.json", "labels.txt", "openvino_model.xml", "openvino_model.bin"},
    "ir": {"labels.txt", "model.xml", "model.bin"},
}  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_a_layout_holds_what_its_server_needs(candidate: Path, tmp_path: Path, format: str) -> None:
    target = tmp_path / "out" / "package"
    manifest = write_layout(candidate, target, format=format, name="net")
    found = files(target)
    assert set(found) == NAMES[format] | COMMON
    assert manifest == read_manifest(target)
    assert set(manifest["files"]) == set(found) - {"manifest.json"}
    assert all(digest_file(target / name) == digest for name, digest in manifest["files"].items())
    before = read_manifest(candidate)
    for key in ("policy", "units", "measured", "minimum_openvino", "model", "inference_precision", "samples"):
        assert manifest[key] == before[key]
    layout = manifest["layout"]
    assert (layout["format"], layout["name"], layout["batch"]) == (format, "net", "dynamic")
    assert layout["inputs"] == [{"name": "x", "dtype": "f32", "shape": [-1, 8]}]
    assert found[layout["model"]] == (candidate / "openvino_model.xml").read_bytes()
    labels = next(text for name, text in found.items() if name.endswith("labels.txt"))
    assert labels.decode().split() == list(LABELS)
    assert [p.name for p in target.parent.iterdir()] == ["package"]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_the_same_input_gives_the_same_bytes(candidate: Path, tmp_path: Path, format: str, static: bool) -> None:
    for name in ("p", "q"):
        write_layout(candidate, tmp_path / name, format=format, inputs=InputSettings(batch=1 if static else None))
    assert files(tmp_path / "p") == files(tmp_path / "q")


@pytest.mark.parametrize("format", FORMATS)
def test_a_static_package_takes_one_sample(candidate: Path, tmp_path: Path, format: str) -> None:
    manifest = write_layout(candidate, tmp_path / "p", format=format, inputs=InputSettings(batch=1))
    assert manifest["layout"]["batch"] == 1
    model = ov.Core().read_model(tmp_path / "p" / manifest["layout"]["model"])
    assert list(model.input(0).shape) == [1, 8]
    x = read_samples(candidate / "samples.npz").inputs["x"][:1]
    dynamic, static = (
        ov.Core().compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
        for m in (candidate / "openvino_model.xml", model)
    )
    np.testing.assert_array_equal(dynamic, static)


def test_an_input_without_a_name_is_refused(tmp_path: Path) -> None:
    model = classifier()
    model.input(0).get_tensor().set_names(set())
    source = write_candidate(tmp_path / "deploy" / "c1", model=model, with_samples=False)
    with pytest.raises(PackageError, match="an input or output of .* has no name"):
        write_layout(source, tmp_path / "p", format="ovms")
    assert [p.name for p in tmp_path.iterdir()] == ["deploy"]


def test_samples_stay_behind_if_asked(candidate: Path, tmp_path: Path) -> None:
    manifest = write_layout(candidate, tmp_path / "p", format="ir", inputs=InputSettings(samples=False))
    assert not (tmp_path / "p" / "samples.npz").exists()
    assert "samples" not in manifest


def test_labels_of_older_runs_come_from_the_configuration(tmp_path: Path) -> None:
    names = {str(i): f"n{i}" for i in range(11)}
    source = write_candidate(tmp_path / "c1", config={"id2label": names}, labels=[])
    manifest = json.loads((source / "manifest.json").read_text())
    del manifest["labels"]
    (source / "manifest.json").write_text(json.dumps(manifest))
    write_layout(source, tmp_path / "p", format="ir")
    assert (tmp_path / "p" / "labels.txt").read_text().split() == [f"n{i}" for i in range(11)]


# --- what a server is told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hint", ["f32", "bf16"])
def test_ovms_runs_it_as_measured(tmp_path: Path, hint: str) -> None:
    source = write_candidate(tmp_path / "c1", hint=hint)
    write_layout(source, tmp_path / "p", format="ovms")
    (entry,) = json.loads((tmp_path / "p" / "config.json").read_text())["model_config_list"]
    assert entry["config"]["plugin_config"] == {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    assert entry["config"]["name"] == entry["config"]["base_path"] == "tiny-classifier"


def triton_message() -> Any:
    """`inference.ModelConfig` with the field numbers of Triton's model_config.proto, as far as packages use it."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    types = [
        "INVALID",
        "BOOL",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "FP16",
        "FP32",
    ]
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, values in (("DataType", [f"TYPE_{t}" for t in types]), ("Kind", ["KIND_AUTO", "KIND_GPU", "KIND_CPU"])):
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)

    def add(message: Any, name: str, number: int, kind: int, *, repeated: bool = False, of: str = "") -> None:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        message.field.add(name=name, number=number, type=kind, label=label)
        if of:
            message.field[-1].type_name = f".inference.{of}"

    for name, dims in (("ModelInput", 4), ("ModelOutput", 3)):
        tensor = file.message_type.add(name=name)
        add(tensor, "name", 1, field.TYPE_STRING)
        add(tensor, "data_type", 2, field.TYPE_ENUM, of="DataType")
        add(tensor, "dims", dims, field.TYPE_INT64, repeated=True)
        if name == "ModelOutput":
            add(tensor, "label_filename", 4, field.TYPE_STRING)
    group = file.message_type.add(name="ModelInstanceGroup")
    add(group, "kind", 4, field.TYPE_ENUM, of="Kind")
    add(group, "count", 2, field.TYPE_INT32)
    add(file.message_type.add(name="ModelParameter"), "string_value", 1, field.TYPE_STRING)
    config = file.message_type.add(name="ModelConfig")
    entry = config.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, of="ModelParameter")
    add(config, "name", 1, field.TYPE_STRING)
    add(config, "backend", 17, field.TYPE_STRING)
    add(config, "max_batch_size", 4, field.TYPE_INT32)
    add(config, "input", 5, field.TYPE_MESSAGE, repeated=True, of="ModelInput")
    add(config, "output", 6, field.TYPE_MESSAGE, repeated=True, of="ModelOutput")
    add(config, "instance_group", 7, field.TYPE_MESSAGE, repeated=True, of="ModelInstanceGroup")
    add(config, "parameters", 14, field.TYPE_MESSAGE, repeated=True, of="ModelConfig.ParametersEntry")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()


@pytest.mark.parametrize(("hint", "static"), [("f32", False), ("bf16", True)])
def test_protobuf_itself_reads_the_triton_configuration(tmp_path: Path, hint: str, static: bool) -> None:
    config = triton_message()
    from google.protobuf import text_format

    source = write_candidate(tmp_path / "c1", model=classifier(name='a "b"\\c'), hint=hint)
    manifest = write_layout(source, tmp_path / "p", format="triton", inputs=InputSettings(batch=1 if static else None))
    text_format.Parse((tmp_path / "p" / "tiny-classifier" / "config.pbtxt").read_text(), config)
    assert (config.name, config.backend, config.max_batch_size) == ("tiny-classifier", "openvino", 0)
    batch = 1 if static else -1
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [('a "b"\\c', 11, [batch, 8])]
    assert [(t.name, list(t.dims), t.label_filename) for t in config.output] == [("scores", [batch, 4], "labels.txt")]
    assert [g.kind for g in config.instance_group] == [2]
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters == {"PERFORMANCE_HINT": "LATENCY", "TARGET_DEVICE": "CPU"} | (
        {"HINT_BF16": "YES"} if hint == "bf16" else {}
    )
    assert any("none for f32" in note for note in manifest["layout"]["notes"]) == (hint == "f32")


def test_mlserver_is_told_inputs_outputs_and_hints(candidate: Path, tmp_path: Path) -> None:
    write_layout(candidate, tmp_path / "p", format="kserve", name="net")
    settings = json.loads((tmp_path / "p" / "net" / "model-settings.json").read_text())
    module, _, name = settings["implementation"].partition(".")
    assert f"class {name}(MLModel):" in (tmp_path / "p" / "net" / f"{module}.py").read_text()
    assert "qnas_ov" not in (tmp_path / "p" / "net" / f"{module}.py").read_text()
    assert settings["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 8]}]
    assert settings["parameters"]["extra"]["config"]["INFERENCE_PRECISION_HINT"] == "f32"
    assert (tmp_path / "p" / "net" / settings["parameters"]["uri"]).is_file()


# --- what is refused -------------------------------------------------------------------------------------------------


def edit_ovms(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        document = json.loads(path.read_text())
        document["model_config_list"][0]["config"] |= changes
        path.write_text(json.dumps(document))

    return edit


def rename(before: str, after: str) -> Callable[[Path], None]:
    return lambda folder: (folder / before).rename(folder / after)


OVMS_FAULTS = [
    (edit_ovms(mean="[1,2,3]"), "the key 'mean', which the server refuses"),
    (edit_ovms(nireq="4"), "'nireq' in .* must be int, found '4'"),
    (edit_ovms(nireq=True), "'nireq' in .* must be int, found True"),
    (edit_ovms(nireq=-1), "'nireq' in .* must be at least 0"),
    (edit_ovms(plugin_config="LATENCY"), "'plugin_config' in .* must be dict"),
    (edit_ovms(base_path="other"), "there is no 'other'"),
    (edit_ovms(base_path="/models/net"), "must lie in the package"),
    (edit_ovms(base_path="../net"), "must lie in the package"),
    (edit_ovms(name=""), "every model in .* must have name"),
    (rename("net/1", "net/0"), "must be a version: an integer from 1 on"),
    (rename("net/1", "net/v1"), "must be a version: an integer from 1 on"),
    (lambda folder: shutil.rmtree(folder / "net" / "1"), "must hold a version folder"),
    (rename("net/1/model.bin", "net/1/weights.bin"), "must hold one .xml and the .bin of the same name"),
    (lambda folder: (folder / "config.json").write_text("{}"), "must hold 'model_config_list' and nothing else"),
    (lambda folder: (folder / "config.json").write_text("{"), "must be JSON"),
]


@pytest.mark.parametrize(("spoil", "message"), OVMS_FAULTS, ids=[m for _, m in OVMS_FAULTS])
def test_a_wrong_ovms_layout_is_refused(
    candidate: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    write_layout(candidate, tmp_path / "p", format="ovms", name="net")
    check_ovms(tmp_path / "p")
    spoil(tmp_path / "p")
    with pytest.raises(PackageError, match=message):
        check_ovms(tmp_path / "p")


def edit_triton(before: str, after: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "net" / "config.pbtxt"
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))

    return edit


TRITON_FAULTS = [
    (edit_triton('name: "net"', 'name: "other"'), "'name' in .* must be 'net', found 'other'"),
    (edit_triton('"openvino"', '"onnxruntime"'), "'backend' in .* must be 'openvino'"),
    (edit_triton("max_batch_size: 0", "max_batch_size: 8"), "'max_batch_size' in .* must be 0, found 8"),
    (edit_triton("max_batch_size: 0", ""), "'max_batch_size' in .* must be 0, found None"),
    (edit_triton('"x"', '"y"'), r"the inputs in .* must be \['x'\] as in the IR, found \['y'\]"),
    (edit_triton("TYPE_FP32", "TYPE_FP16"), "'data_type' of the input 'x' .* must be TYPE_FP32"),
    (edit_triton("TYPE_FP32", "TYPE_FLOAT"), "'data_type' must be one of .*found 'TYPE_FLOAT'"),
    (edit_triton("[ -1, 8 ]", "[ 8 ]"), r"'dims' of the input 'x' .* must be \[-1, 8\] as in the IR, found \[8\]"),
    (edit_triton("[ -1, 4 ]", "[ -1, 5 ]"), "'dims' of the output 'scores'"),
    (edit_triton("KIND_CPU", "KIND_GPU"), "one instance_group of KIND_CPU"),
    (edit_triton('"PERFORMANCE_HINT"', '"INFERENCE_PRECISION_HINT"'), "no parameter 'INFERENCE_PRECISION_HINT'"),
    (edit_triton('"LATENCY"', '"FAST"'), "PERFORMANCE_HINT in .* must match"),
    (edit_triton('"labels.txt"', '"names.txt"'), "there is no 'names.txt'"),
    (edit_triton("backend:", "bakend:"), "line 2: unknown field 'bakend'"),
    (edit_triton("backend:", "backend"), "line 2: expected ':' after 'backend'"),
    (edit_triton("max_batch_size: 0", "max_batch_size: 0\nmax_batch_size: 0"), "line 4: .* stands twice"),
    (edit_triton("max_batch_size: 0", 'max_batch_size: "0"'), "line 3: 'max_batch_size' must be an int32"),
    (edit_triton("max_batch_size: 0", "max_batch_size: 2147483648"), "line 3: 'max_batch_size' must be an int32"),
    (edit_triton("max_batch_size: 0", "max_batch_size: [0]"), "holds one value, not a list"),
    (edit_triton('"openvino"', "'openvino'"), "line 2: .* is not protobuf text"),
    (edit_triton("[ -1, 8 ]", "[ -1 8 ]"), "expected ',', found '8'"),
    (edit_triton('  value { string_value: "LATENCY" }\n}', '  value { string_value: "LATENCY" }'), "unknown field"),
    (rename("net/1", "net/0"), "must be a version: an integer from 1 on"),
    (rename("net/1/model.xml", "net/1/openvino_model.xml"), "must hold model.xml and model.bin"),
    (rename("net/config.pbtxt", "config.pbtxt"), "must be a text file"),
    (rename("net", "network"), "'name' in .* must be 'network'"),
    (lambda folder: shutil.rmtree(folder / "net"), "must hold a folder per model"),
]


@pytest.mark.parametrize(("spoil", "message"), TRITON_FAULTS, ids=[m for _, m in TRITON_FAULTS])
def test_a_wrong_triton_layout_is_refused(
    candidate: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    write_layout(candidate, tmp_path / "p", format="triton", name="net")
    check_triton(tmp_path / "p")
    spoil(tmp_path / "p")
    with pytest.raises(PackageError, match=message):
        check_triton(tmp_path / "p")


def test_triton_refuses_a_bounded_batch(tmp_path: Path) -> None:
    model = classifier()
    model.reshape({"x": ov.PartialShape([ov.Dimension(1, 32), ov.Dimension(8)])})
    source = write_candidate(tmp_path / "deploy" / "c1", model=model)
    with pytest.raises(PackageError, match="dynamic axis with an upper bound"):
        write_layout(source, tmp_path / "p", format="triton")
    assert [p.name for p in tmp_path.iterdir()] == ["deploy"]
    write_layout(source, tmp_path / "p", format="triton", inputs=InputSettings(batch=1))


def test_a_check_that_fails_leaves_nothing(candidate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    for format in FORMATS:
        with pytest.raises(RunFolderError, match="cannot write .*No space left on device"):
            write_layout(candidate, tmp_path / format, format=format)
    assert [p.name for p in tmp_path.iterdir()] == ["deploy"]


REFUSED: list[tuple[dict[str, Any], type[QnasError], str]] = [
    ({"format": "onnx"}, QnasError, "unknown format 'onnx': choose one of"),
    ({"format": "ovms", "name": "a/b"}, InputError, "--name must be .* 'a/b' is not"),
    ({"format": "ovms", "name": ".."}, InputError, "--name must be"),
]


@pytest.mark.parametrize(("settings", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_wrong_settings_are_refused(
    candidate: Path, tmp_path: Path, settings: dict[str, Any], error: type[QnasError], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_layout(candidate, tmp_path / "p", **settings)
    assert [p.name for p in tmp_path.iterdir()] == ["deploy"]


def test_optimum_needs_a_configuration(tmp_path: Path) -> None:
    source = write_candidate(tmp_path / "c1")
    with pytest.raises(InputError, match="--format optimum needs config.json"):
        write_layout(source, tmp_path / "p", format="optimum")


def test_an_existing_destination_is_kept(candidate: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(InputError, match="must not exist yet"):
        write_layout(candidate, tmp_path / "p", format="ir")


def test_a_damaged_candidate_is_refused(candidate: Path, tmp_path: Path) -> None:
    weights = bytearray((candidate / "openvino_model.bin").read_bytes())
    weights[5] ^= 1
    (candidate / "openvino_model.bin").write_bytes(weights)
    with pytest.raises(PackageError, match=r"'openvino_model\.bin' in .* does not have the SHA-256"):
        write_layout(candidate, tmp_path / "p", format="ir")
    assert not (tmp_path / "p").exists()


def test_samples_are_kept_as_they_are(candidate: Path) -> None:
    samples = read_samples(candidate / "samples.npz")
    assert len(samples) == NUM_SAMPLES
    assert samples.inputs["x"].shape == (NUM_SAMPLES, 8)
    assert samples.outputs.dtype == np.float32
    assert samples.target.dtype.kind == "i"
