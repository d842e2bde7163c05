"""Packages for the Triton Inference Server's OpenVINO backend: `<name>/config.pbtxt` and `<name>/1/model.xml`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import PackageError
from qnas_ov.core.files import write_text
from qnas_ov.deploy._networks import Tensor, read_tensors
from qnas_ov.deploy._pbtxt import Field, parse_pbtxt, quote
from qnas_ov.deploy._served import LABELS, Served, check_versions

CONFIG = "config.pbtxt"

# What the backend maps to an OpenVINO type (src/openvino_utils.cc).
_TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
}
_TYPE = Field(frozenset(_TYPES.values()))
_INT64S = Field("int64", repeated=True)

# The fields of inference.ModelConfig (model_config.proto) that such a package needs.
_MODEL_CONFIG = {
    "name": Field("string"),
    "backend": Field("string"),
    "max_batch_size": Field("int32"),
    "input": Field({"name": Field("string"), "data_type": _TYPE, "dims": _INT64S}, repeated=True),
    "output": Field(
        {"name": Field("string"), "data_type": _TYPE, "dims": _INT64S, "label_filename": Field("string")},
        repeated=True,
    ),
    "instance_group": Field(
        {"count": Field("int32"), "kind": Field(frozenset({"KIND_AUTO", "KIND_CPU", "KIND_GPU", "KIND_MODEL"}))},
        repeated=True,
    ),
    "parameters": Field({"key": Field("string"), "value": Field({"string_value": Field("string")})}, repeated=True),
}

# What the backend reads (src/openvino.cc); it passes over all others without a word.
_PARAMETERS = {
    "PERFORMANCE_HINT": re.compile("LATENCY|THROUGHPUT|CUMULATIVE_THROUGHPUT"),
    "HINT_BF16": re.compile("YES"),
    "NUM_STREAMS": re.compile("AUTO|NUMA|[0-9]+"),
    "INFERENCE_NUM_THREADS": re.compile("[0-9]+"),
    "COMPILATION_NUM_THREADS": re.compile("[0-9]+"),
    "TARGET_DEVICE": re.compile("[A-Z][A-Z0-9_.:,]*"),
}

NO_F32 = (
    "the Triton backend has a parameter for bf16 and none for f32: on a CPU with AMX or AVX512-BF16 it runs this "
    "network in bf16, not in f32 as measured; check its accuracy there, or take a candidate measured under bf16"
)


def write_triton(folder: Path, served: Served) -> None:
    """Writes the model's configuration, under which it runs as it was measured as far as the backend can say so.

    Raises:
        PackageError: If the backend has no such type.
    """
    parameters = {"PERFORMANCE_HINT": "LATENCY", "TARGET_DEVICE": served.device}
    if served.inference_precision == "bf16":
        parameters["HINT_BF16"] = "YES"
    lines = [f"name: {quote(served.name)}", 'backend: "openvino"', "max_batch_size: 0"]
    lines += _render("input", served.tensors.inputs, "")
    lines += _render("output", served.tensors.outputs, LABELS if served.classifies else "")
    lines += ["instance_group [", "  {", "    count: 1", "    kind: KIND_CPU", "  }", "]"]
    for key, value in parameters.items():
        lines += ["parameters {", f"  key: {quote(key)}", f"  value {{ string_value: {quote(value)} }}", "}"]
    write_text(folder / served.name / CONFIG, "\n".join(lines) + "\n")


def check_triton(folder: Path) -> None:
    """Checks that a folder is a repository of models that Triton's OpenVINO backend loads as they are.

    Every model folder must hold a `config.pbtxt` whose names, types and dims are those of the IR, and version folders
    with `model.xml` and `model.bin`.

    Raises:
        PackageError: What is wrong, and what it must be.
    """
    models = sorted(p for p in folder.iterdir() if p.is_dir())
    if not models:
        raise PackageError(f"'{folder}' must hold a folder per model and holds none")
    for model in models:
        _check_model(model)


def _render(field: str, tensors: Sequence[Tensor], labels: str) -> list[str]:
    lines = [f"{field} ["]
    for position, tensor in enumerate(tensors):
        if tensor.dtype not in _TYPES:
            raise PackageError(f"the Triton backend has no type for '{tensor.name}', which is {tensor.dtype}")
        lines += ["  {", f"    name: {quote(tensor.name)}", f"    data_type: {_TYPES[tensor.dtype]}"]
        lines.append(f"    dims: [ {', '.join(str(d) for d in tensor.dims)} ]")
        if labels and position == 0:
            lines.append(f"    label_filename: {quote(labels)}")
        lines.append("  }" if position == len(tensors) - 1 else "  },")
    return [*lines, "]"]


def _check_model(model: Path) -> None:
    path = model / CONFIG
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise PackageError(f"'{path}' must be a text file: {error}") from error
    config = parse_pbtxt(text, _MODEL_CONFIG, where=str(path))
    for field, wanted in (("name", model.name), ("backend", "openvino"), ("max_batch_size", 0)):
        if config.get(field) != wanted:
            raise PackageError(f"'{field}' in '{path}' must be {wanted!r}, found {config.get(field)!r}")
    if [g.get("kind") for g in config.get("instance_group", [])] != ["KIND_CPU"]:
        raise PackageError(f"'{path}' must have one instance_group of KIND_CPU: the backend refuses others")
    _check_parameters(config.get("parameters", []), path)
    for output in config.get("output", []):
        labels = output.get("label_filename")
        if labels is not None and not (model / labels).is_file():
            raise PackageError(f"'label_filename' in '{path}' must be a file beside it: there is no '{labels}'")
    for version in check_versions(model):
        if not (version / "model.xml").is_file() or not (version / "model.bin").is_file():
            raise PackageError(f"'{version}' must hold model.xml and model.bin: the backend looks for these names")
        tensors = read_tensors(version / "model.xml")
        _check_tensors("input", config.get("input", []), tensors.inputs, path)
        _check_tensors("output", config.get("output", []), tensors.outputs, path)


def _check_parameters(parameters: Sequence[Mapping[str, Any]], path: Path) -> None:
    keys = [p.get("key") for p in parameters]
    for parameter in parameters:
        key, value = parameter.get("key"), parameter.get("value", {}).get("string_value")
        if key not in _PARAMETERS:
            raise PackageError(f"the backend has no parameter '{key}' ('{path}'): it has {', '.join(_PARAMETERS)}")
        if value is None or not _PARAMETERS[key].fullmatch(value):
            raise PackageError(
                f"the parameter {key} in '{path}' must match {_PARAMETERS[key].pattern}, found {value!r}"
            )
        if keys.count(key) > 1:
            raise PackageError(f"the parameter {key} stands twice in '{path}'")


def _check_tensors(field: str, given: Sequence[Mapping[str, Any]], wanted: Sequence[Tensor], path: Path) -> None:
    names = [t.get("name") for t in given]
    if sorted(map(str, names)) != sorted(t.name for t in wanted):
        raise PackageError(f"the {field}s in '{path}' must be {[t.name for t in wanted]} as in the IR, found {names}")
    by_name = {t["name"]: t for t in given}
    for tensor in wanted:
        if tensor.bounded:
            raise PackageError(
                f"'{tensor.name}' has a dynamic axis with an upper bound, which the Triton backend refuses: make the "
                "batch static"
            )
        found = by_name[tensor.name]
        for key, value in (("data_type", _TYPES.get(tensor.dtype)), ("dims", list(tensor.dims))):
            if found.get(key) != value:
                raise PackageError(
                    f"'{key}' of the {field} '{tensor.name}' in '{path}' must be {value} as in the IR, found "
                    f"{found.get(key)}"
                )
