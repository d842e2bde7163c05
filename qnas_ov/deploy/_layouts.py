"""Packages in the layouts that servers load, made from the package of a candidate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import InputError, PackageError, unknown_name
from qnas_ov.core.files import atomic_folder, write_json, write_text
from qnas_ov.deploy._companions import COMPANIONS, PREPROCESSOR
from qnas_ov.deploy._inputs import InputSettings, Prepared, ReadSteps, Rescore, Takes, prepare_network
from qnas_ov.deploy._kserve import write_kserve
from qnas_ov.deploy._manifest import MANIFEST, digest_files, read_manifest
from qnas_ov.deploy._networks import read_tensors, save_network
from qnas_ov.deploy._ovms import check_ovms, write_ovms
from qnas_ov.deploy._samples import SAMPLES, write_samples
from qnas_ov.deploy._served import LABELS, Served, check_name, name_from
from qnas_ov.deploy._triton import NO_F32, check_triton, write_triton

_CONFIG, _NETWORK, _TOKENIZER = "config.json", "openvino_model.xml", "openvino_tokenizer.xml"


@dataclass(frozen=True)
class _Layout:
    """How a format differs from the others.

    Attributes:
        model: Where the .xml lies.
        labels: Where the labels lie.
        takes: What clients can send instead of tensors.
        write: Writes the server's configuration; the IR and the labels are there.
        check: Raises if a server would refuse the folder.
    """

    model: str
    labels: str = LABELS
    takes: Takes = field(default_factory=Takes)
    write: Callable[[Path, Served], None] = lambda folder, served: None
    check: Callable[[Path], None] = lambda folder: None


_BOTH = Takes(able=("image", "text"), by_default=("image", "text"))
_LAYOUTS = {
    "ovms": _Layout("{name}/1/model.xml", takes=_BOTH, write=write_ovms, check=check_ovms),
    "triton": _Layout(
        "{name}/1/model.xml",
        labels=f"{{name}}/{LABELS}",
        takes=Takes(able=("image",), by_default=("image",)),  # its backend has no strings and loads no extensions
        write=write_triton,
        check=check_triton,
    ),
    "kserve": _Layout("{name}/model.xml", labels=f"{{name}}/{LABELS}", takes=_BOTH, write=write_kserve),
    "optimum": _Layout(_NETWORK, takes=Takes(tokenizer=False)),
    "ir": _Layout("model.xml", takes=Takes(able=("image", "text"))),
}

FORMATS = tuple(_LAYOUTS)
"""What a package can be: for OpenVINO Model Server, Triton, MLServer (KServe v2), optimum-intel, or the bare IR."""


def write_layout(
    source: Path,
    target: Path,
    *,
    format: str,
    name: str | None = None,
    inputs: InputSettings | None = None,
    read_steps: ReadSteps | None = None,
    rescore: Rescore | None = None,
) -> dict[str, Any]:
    """Writes a package that a server loads, whole or not at all; the same input gives the same bytes.

    Args:
        source: Package of a candidate, as `write_package` makes it; its digests are checked first.
        target: A folder that does not exist yet.
        format: One of `FORMATS`.
        name: Name of the model on the server; the network's own if left out.
        inputs: What the package takes; what suits the format if left out.
        read_steps: Reads the image processor in a folder; without it no image preprocessing is embedded.
        rescore: Gives the metric on samples, needed where recorded texts come along in part.

    Returns:
        The manifest: that of the candidate with `layout`, which says where the IR lies and what it takes and gives.

    Raises:
        UnknownNameError: If there is no such format.
        InputError: If the target exists, or the name, the format or the inputs do not fit.
        PackageError: If the source is damaged, or a server would refuse the result.
        RunFolderError: If it cannot be written.
    """
    if format not in _LAYOUTS:
        raise unknown_name("format", format, FORMATS)
    if target.exists():
        raise InputError(f"the destination '{target}' must not exist yet: choose a new folder")
    manifest = read_manifest(source)
    if format == "optimum" and _CONFIG not in manifest["files"]:
        raise InputError(
            f"--format optimum needs {_CONFIG}, which '{source}' does not have, since its network came without one: "
            "choose another format"
        )
    name = name_from(_take(manifest, source, "model", "name")) if name is None else check_name(name)
    layout = _LAYOUTS[format]
    prepared = prepare_network(
        source, manifest, inputs or InputSettings(), takes=layout.takes, read_steps=read_steps, rescore=rescore
    )
    with atomic_folder(target) as part:
        served = _place(source, part, manifest, layout, name, prepared)
        _place_files(source, part, manifest, prepared)
        if format == "optimum":
            shutil.copyfile(source / _CONFIG, part / _CONFIG)
        layout.write(part, served)
        record = {key: value for key, value in manifest.items() if key not in ("files", "samples")}
        if prepared.samples is not None:
            record["samples"] = prepared.samples[1]
        record |= {"layout": _describe(format, layout, served, prepared), "files": digest_files(part)}
        write_json(part / MANIFEST, record)
        layout.check(part)
    return record


def _place(
    source: Path, part: Path, manifest: Mapping[str, Any], layout: _Layout, name: str, prepared: Prepared
) -> Served:
    """Puts the IR and the labels where they belong."""
    model = part / layout.model.format(name=name)
    model.parent.mkdir(parents=True, exist_ok=True)
    if prepared.model is None:
        shutil.copyfile(source / _NETWORK, model)
        shutil.copyfile((source / _NETWORK).with_suffix(".bin"), model.with_suffix(".bin"))
    else:
        save_network(prepared.model, model)
    served = Served(
        name=name,
        tensors=read_tensors(model),
        device=_take(manifest, source, "machine", "device"),
        inference_precision=_take(manifest, source, "inference_precision"),
        minimum_openvino=_take(manifest, source, "minimum_openvino"),
        labels=_labels(source, manifest),
    )
    if served.labels:
        lines = [" ".join(label.splitlines()) for label in served.labels]
        write_text(part / layout.labels.format(name=name), "\n".join(lines) + "\n")
    return served


def _place_files(source: Path, part: Path, manifest: Mapping[str, Any], prepared: Prepared) -> None:
    """Puts in what a server does not read, but its clients or `qnas-ov verify` do."""
    for file in sorted({PREPROCESSOR, *COMPANIONS} & set(manifest["files"])):
        shutil.copyfile(source / file, part / file)
    if prepared.tokenizer is not None:
        save_network(prepared.tokenizer, part / _TOKENIZER)
    if prepared.samples is not None:
        write_samples(part / SAMPLES, prepared.samples[0].to_arrays())


def _describe(format: str, layout: _Layout, served: Served, prepared: Prepared) -> dict[str, Any]:
    tensors = {
        kind: [{"name": t["name"], "dtype": t["dtype"], "shape": list(t["dims"])} for t in found]
        for kind, found in asdict(served.tensors).items()
    }
    notes = [NO_F32] if format == "triton" and served.inference_precision == "f32" else []
    return {
        "format": format,
        "name": served.name,
        "model": layout.model.format(name=served.name),
        "batch": served.tensors.batch or "dynamic",
        **tensors,
        "preprocessing": prepared.preprocessing,
        "tokenizer": None if prepared.tokenizer is None else _TOKENIZER,
        "notes": [*notes, *prepared.notes],
    }


def _labels(source: Path, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes, by index; packages of older runs have them in `config.json` alone."""
    if "labels" in manifest:
        return tuple(str(label) for label in manifest["labels"])
    if _CONFIG not in manifest["files"]:
        return ()
    names = json.loads((source / _CONFIG).read_text(encoding="utf-8")).get("id2label") or {}
    return tuple(str(names[key]) for key in sorted(names, key=int))


def _take(manifest: Mapping[str, Any], source: Path, *keys: str) -> str:
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, str) or not value:
        raise PackageError(f"the manifest of '{source}' does not give {'.'.join(keys)}: search again with this version")
    return value
