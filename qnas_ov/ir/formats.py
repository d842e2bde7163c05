"""Reads networks from disk as they are: OpenVINO IRs, ONNX files and local Hugging Face folders."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.parsers import expat

import openvino as ov
import torch
from openvino.frontend import FrontEndManager

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional

_IR_NAME = "openvino_model.xml"
_WEIGHTS_NAME = "model.safetensors"
_KINDS = "an OpenVINO .xml with its .bin, an .onnx, or a local Hugging Face folder"
_HEADS = {
    "ForSequenceClassification": ("text-classification", "AutoModelForSequenceClassification"),
    "ForImageClassification": ("image-classification", "AutoModelForImageClassification"),
}
_NO_HEAD = ("feature-extraction", "AutoModel")


def read_network(path: Path) -> tuple[ov.Model, dict[str, Any] | None, dict[str, Any] | None]:
    """Reads a file or a folder.

    Returns:
        The graph as it is stored, and what `config.json` and `preprocessor_config.json` of a folder hold.

    Raises:
        InputError: If it is missing, damaged, foreign, or not safe to read.
    """
    if not path.is_dir():
        return _read_file(path), None, None
    config = _read_json(path / "config.json")
    return _open_folder(path, config), config, _read_json(path / "preprocessor_config.json")


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
    return _one_sentence(told[-1]) if told else "OpenVINO gives no reason"


def _first_line(error: BaseException) -> str:
    """What an exception of transformers or of its export says: advice stands last, a tracer's cause in the middle."""
    told = [line.strip() for line in str(error).split("Exception:\n")[-1].splitlines() if line.strip()]
    return _one_sentence(told[0]) if told else type(error).__name__


def _one_sentence(text: str) -> str:
    return re.split(r"[.;]\s", text)[0].rstrip(".:; ")[:200]


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read '{path}' as JSON: {_first_line(error)}; restore it from its source") from error
    if not isinstance(value, dict):
        raise InputError(f"cannot use '{path}': it must hold a JSON object and holds {type(value).__name__}")
    return value


def _open_folder(folder: Path, config: dict[str, Any] | None) -> ov.Model:
    if (folder / _IR_NAME).exists():
        return _read_file(folder / _IR_NAME)
    if config is None:
        raise InputError(
            f"cannot open '{folder}': a Hugging Face folder must hold config.json and this has none; give a checkpoint"
        )
    if config.get("quantization_config"):
        raise InputError(
            f"cannot search '{folder}': it must hold a float network, and its config.json says that it is quantized "
            "already; give the network it was made from"
        )
    _check_weights(folder)
    if "auto_map" in config and config.get("model_type") not in import_optional("transformers", name="CONFIG_MAPPING"):
        raise InputError(
            f"cannot open '{folder}': its config.json asks for code of its own (auto_map), which is never run; "
            "export it to an OpenVINO IR and give that"
        )
    return _export_folder(folder, config)


def _check_weights(folder: Path) -> None:
    """Lets only safetensors pass: any other format is a pickle, which can run code."""
    if (folder / _WEIGHTS_NAME).is_file():
        return
    index = _read_json(folder / f"{_WEIGHTS_NAME}.index.json")
    if index is not None:
        _check_shards(folder, index)
    elif pickles := sorted(p.name for p in folder.glob("*.bin")):
        raise InputError(
            f"cannot open '{folder}': its weights must be {_WEIGHTS_NAME}, and '{pickles[0]}' is a pickle, which can "
            "run code and is never read; save it with `save_pretrained(folder, safe_serialization=True)`"
        )
    else:
        raise InputError(
            f"cannot open '{folder}': it must hold {_IR_NAME} or {_WEIGHTS_NAME}, and neither is there; "
            "copy the whole checkpoint"
        )


def _check_shards(folder: Path, index: dict[str, Any]) -> None:
    shards = index.get("weight_map")
    for name in sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else ["no shards"]:
        if not name.endswith(".safetensors") or not (folder / name).is_file():
            raise InputError(
                f"cannot open '{folder}': {_WEIGHTS_NAME}.index.json must name safetensors that lie beside it, and it "
                f"names '{name}'; copy the whole checkpoint"
            )


def _export_folder(folder: Path, config: dict[str, Any]) -> ov.Model:
    """Exports a checkpoint through optimum-intel's exporter.

    Its `OVModelFor...` classes are passed by: they cannot be told to refuse pickles, keep FP16 checkpoints in FP16, and
    give weights that the checkpoint lacks random values without a word.
    """
    architecture = str((config.get("architectures") or [""])[0])
    task, loader = next((v for head, v in _HEADS.items() if architecture.endswith(head)), _NO_HEAD)
    automatic = import_optional("transformers", name=loader)
    export = import_optional("optimum.exporters.openvino", name="export_from_model")
    settings = import_optional("optimum.intel", name="OVConfig")(dtype="fp32")
    with _quiet(), tempfile.TemporaryDirectory() as part:
        network = _load_weights(folder, automatic)
        try:
            export(network, Path(part), task=task, ov_config=settings, preprocessors=[], device="cpu")
        except Exception as error:  # tracing runs the network's own Python, which raises whatever it raises
            raise InputError(
                f"cannot export '{folder}' for {task}: {_first_line(error)}; export it to an OpenVINO IR and give that"
            ) from error
        return _read_file(Path(part) / _IR_NAME)


def _load_weights(folder: Path, automatic: Any) -> torch.nn.Module:
    try:
        network, report = automatic.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # only so that the report names them
            output_loading_info=True,
        )
    except Exception as error:  # configurations are checked by several packages, each with errors of its own
        raise InputError(
            f"cannot load the checkpoint '{folder}': {_first_line(error)}; use the files of one whole checkpoint"
        ) from error
    mismatched = [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]]
    wrong = sorted({*mismatched, *(key for key in report["missing_keys"] if "pooler" not in key)})
    if wrong:
        raise InputError(
            f"the weights in '{folder}' do not fit its config.json: {len(wrong)} are missing or of another shape, "
            f"such as '{wrong[0]}'; use the files of one whole checkpoint"
        )
    return network.float().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps warnings and progress bars of transformers and optimum off the terminal."""
    bars = import_optional("transformers.utils.logging")
    loggers = [logging.getLogger(name) for name in ("transformers", "optimum", "nncf")]
    levels = [logger.level for logger in loggers]
    had_bars = bars.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    bars.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of Python branches that the network never takes
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_bars:
            bars.enable_progress_bar()
