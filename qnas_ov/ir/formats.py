"""Reads networks from disk as they are: OpenVINO IRs, ONNX files and local Hugging Face folders."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.parsers import expat

import openvino as ov
import torch
from openvino.frontend import FrontEndManager

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.families import (
    check_weights,
    first_line,
    one_sentence,
    open_pretrained,
    quiet_transformers,
)

IR_NAME = "openvino_model.xml"
_KINDS = "an OpenVINO .xml with its .bin, an .onnx, or a local Hugging Face folder"
_HEADS = {
    "ForSequenceClassification": ("text-classification", "AutoModelForSequenceClassification"),
    "ForImageClassification": ("image-classification", "AutoModelForImageClassification"),
}
_NO_HEAD = ("feature-extraction", "AutoModel")


def read_network(path: Path, config: Mapping[str, Any] | None) -> ov.Model:
    """Reads a file or a folder as it is stored.

    Args:
        path: Where it lies.
        config: The `config.json` of a folder, if it has one.

    Raises:
        InputError: If it is missing, damaged, foreign, or not safe to read.
    """
    return _open_folder(path, config) if path.is_dir() else _read_file(path)


def _read_file(path: Path) -> ov.Model:
    if path.suffix not in (".xml", ".onnx"):
        state = "its suffix says that it is none of these" if path.exists() else "there is no such file or folder"
        raise InputError(f"cannot open '{path}': give {_KINDS}; {state}")
    if not path.is_file():
        raise InputError(f"cannot open '{path}': there is no such file; give {_KINDS}")
    try:
        return _read_ir(path) if path.suffix == ".xml" else _read_onnx(path)
    except OSError as error:
        raise InputError(f"cannot open '{path}': {error.strerror or error}; make it readable") from error


def _read_ir(path: Path) -> ov.Model:
    weights = path.with_suffix(".bin")
    needed = _bytes_of_weights(path)
    if not weights.is_file():
        raise InputError(f"cannot open '{path}': '{weights.name}' must lie beside it and does not; copy both files")
    if (found := weights.stat().st_size) < needed:
        raise InputError(
            f"cannot open '{path}': it needs {needed} bytes of weights and '{weights.name}' has {found}; "
            "copy both files of one export again"
        )
    return _read_model(path, "ir", "an OpenVINO IR")


def _bytes_of_weights(path: Path) -> int:
    """How long the .bin of an IR must be, by its .xml."""
    root, layer, end = "", "", 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal root, layer, end
        root = root or tag
        if tag == "layer":
            layer = attributes.get("type", "")
        elif tag == "data" and layer == "Const":
            end = max(end, int(attributes.get("offset", 0)) + int(attributes.get("size", 0)))

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        with path.open("rb") as stream:
            parser.ParseFile(stream)
    except (expat.ExpatError, ValueError) as error:
        raise InputError(
            f"cannot read '{path}' as an OpenVINO IR: it is damaged or cut short ({error}); export it again"
        ) from error
    if root != "net":
        raise InputError(
            f"cannot read '{path}' as an OpenVINO IR: it must hold a <net> and holds a <{root}>; "
            "give the .xml that `ov.save_model` wrote"
        )
    return end


def _read_onnx(path: Path) -> ov.Model:
    with path.open("rb") as stream:
        if not stream.read(1):
            raise InputError(f"cannot read '{path}' as an ONNX network: it is empty; export it again")
    return _read_model(path, "onnx", "an ONNX network")


def _read_model(path: Path, framework: str, kind: str) -> ov.Model:
    """Reads a file into memory: a mapped one must not change while a search runs for hours."""
    if not FrontEndManager().load_by_framework(framework).supported(str(path)):
        raise InputError(
            f"cannot read '{path}' as {kind}: it is damaged, of another format, or of a version that "
            f"OpenVINO {ov.get_version().split('-')[0]} does not read; export it again"
        )
    core = ov.Core()
    core.set_property({"ENABLE_MMAP": False})
    try:
        return core.read_model(path)
    except (RuntimeError, UnicodeDecodeError) as error:
        unsupported = re.search(r"No conversion rule found for operations: (.+)", str(error))
        if unsupported:
            types = re.sub(r"-\d+(?=,|$)", "", unsupported[1].strip())
            raise InputError(
                f"cannot read '{path}': OpenVINO does not support its operations of type {types}; "
                "export it without them"
            ) from error
        outside = re.search(r"externally stored data in file \(([^,]+),", str(error))
        if outside:
            raise InputError(
                f"cannot read '{path}': '{outside[1]}', which holds its weights, must lie beside it and is missing or "
                "cut short; copy both files"
            ) from error
        raise InputError(f"cannot read '{path}' as {kind}: {last_line(error)}; export it again") from error


def last_line(error: BaseException) -> str:
    """What an exception of OpenVINO says after its places in C++: its last line that means something, trimmed."""
    if isinstance(error, UnicodeDecodeError):
        return "it holds names that are not UTF-8"
    text = str(error).split("\nSummary:")[0]
    lines = [line.strip(" -\t") for line in text.splitlines() if not re.search(r"\.[ch]pp:\d|^Exception from ", line)]
    told = [line for line in lines if " " in line]
    return one_sentence(told[-1]) if told else "OpenVINO gives no reason"


def _open_folder(folder: Path, config: Mapping[str, Any] | None) -> ov.Model:
    if (folder / IR_NAME).exists():
        return _read_file(folder / IR_NAME)
    if config is None:
        raise InputError(
            f"cannot open '{folder}': a Hugging Face folder must hold config.json and this has none; give a checkpoint"
        )
    check_checkpoint(folder, config)
    if has_own_code(config):
        raise InputError(
            f"cannot open '{folder}': its config.json asks for Python code of its own (auto_map), which is not run: "
            "read it, then allow it with --trust-remote-code, or export the network to an OpenVINO IR and give that"
        )
    return _export_folder(folder, config)


def has_own_code(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is of a type that transformers does not know and brings its own Python code for it."""
    return "auto_map" in config and config.get("model_type") not in import_optional(
        "transformers", name="CONFIG_MAPPING"
    )


def check_checkpoint(folder: Path, config: Mapping[str, Any]) -> None:
    """Checks that a folder holds a float network whose weights are safe to read.

    Raises:
        InputError: If it is quantized, or its weights are missing, incomplete or pickled.
    """
    if config.get("quantization_config"):
        raise InputError(
            f"cannot search '{folder}': it must hold a float network, and its config.json says that it is quantized "
            "already; give the network it was made from"
        )
    check_weights(folder)


def _export_folder(folder: Path, config: Mapping[str, Any]) -> ov.Model:
    """Exports a checkpoint through optimum-intel's exporter.

    Its `OVModelFor...` classes are passed by: they cannot be told to refuse pickles, keep FP16 checkpoints in FP16, and
    give weights that the checkpoint lacks random values without a word.
    """
    architecture = str((config.get("architectures") or [""])[0])
    task, loader = next((v for head, v in _HEADS.items() if architecture.endswith(head)), _NO_HEAD)
    automatic = import_optional("transformers", name=loader)
    export = import_optional("optimum.exporters.openvino", name="export_from_model")
    settings = import_optional("optimum.intel", name="OVConfig")(dtype="fp32")
    with quiet_transformers(), tempfile.TemporaryDirectory() as part:
        network = load_weights(folder, automatic)
        try:
            export(network, Path(part), task=task, ov_config=settings, preprocessors=[], device="cpu")
        except Exception as error:  # tracing runs the network's own Python, which raises whatever it raises
            raise InputError(
                f"cannot export '{folder}' for {task}: {first_line(error)}; export it to an OpenVINO IR and give that"
            ) from error
        return _read_file(Path(part) / IR_NAME)


def load_weights(folder: Path, automatic: Any, *, own_code: bool = False) -> torch.nn.Module:
    """Loads a checkpoint by one of transformers' `Auto...` classes, in FP32 and evaluation mode.

    Args:
        folder: The checkpoint.
        automatic: The class.
        own_code: Whether its own Python code is run.

    Raises:
        InputError: If it cannot be loaded, or weights are missing or of another shape.
    """
    network, found = open_pretrained(automatic, folder, trust_remote_code=own_code)
    wrong = sorted({*found.mismatched, *(name for name in found.missing if "pooler" not in name)})
    if wrong:
        raise InputError(
            f"the weights in '{folder}' do not fit its config.json: {len(wrong)} are missing or of another shape, "
            f"such as '{wrong[0]}'; use the files of one whole checkpoint"
        )
    return network
