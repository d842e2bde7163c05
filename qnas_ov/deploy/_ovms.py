"""Packages for OpenVINO Model Server: `config.json` beside `<name>/1/model.xml`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from qnas_ov.core.errors import PackageError
from qnas_ov.core.files import write_json
from qnas_ov.deploy._served import Served, check_versions

CONFIG = "config.json"

# Source: MODELS_CONFIG_SCHEMA in the server's src/schema.cpp, which refuses every other key.
_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "base_path": (str,),
    "batch_size": (int, str),
    "graph_path": (str,),
    "subconfig": (str,),
    "model_version_policy": (dict,),
    "shape": (dict, str),
    "layout": (dict, str),
    "nireq": (int,),
    "target_device": (str,),
    "allow_cache": (bool,),
    "plugin_config": (dict,),
    "custom_loader_options": (dict,),
}
_REQUIRED = ("name", "base_path")


def write_ovms(folder: Path, served: Served) -> None:
    """Writes the server's configuration, under which the network runs as it was measured."""
    config = {
        "name": served.name,
        "base_path": served.name,
        "target_device": served.device,
        "plugin_config": {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": served.inference_precision,
        },
    }
    write_json(folder / CONFIG, {"model_config_list": [{"config": config}]})


def check_ovms(folder: Path) -> None:
    """Checks that a folder is what OpenVINO Model Server loads with `--config_path folder/config.json`.

    Stricter than the server's schema: models only, no pipelines or custom loaders; paths inside the folder.

    Raises:
        PackageError: What is wrong, and what it must be.
    """
    path = folder / CONFIG
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(f"'{path}' must be JSON: {error}") from error
    if not isinstance(document, dict) or set(document) != {"model_config_list"}:
        raise PackageError(f"'{path}' must hold 'model_config_list' and nothing else")
    entries = document["model_config_list"]
    if not isinstance(entries, list) or not entries:
        raise PackageError(f"'model_config_list' of '{path}' must be a list of models")
    names: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"config"} or not isinstance(entry["config"], dict):
            raise PackageError(f"every entry of 'model_config_list' of '{path}' must hold 'config' and nothing else")
        _check_keys(entry["config"], path)
        if entry["config"]["name"] in names:
            raise PackageError(f"'{path}' names the model '{entry['config']['name']}' twice")
        names.add(entry["config"]["name"])
        _check_model(folder, entry["config"]["base_path"], path)


def _check_keys(config: Mapping[str, Any], path: Path) -> None:
    for key, value in config.items():
        if key not in _TYPES:
            raise PackageError(f"'{path}' has the key '{key}', which the server refuses: known are {', '.join(_TYPES)}")
        types = _TYPES[key]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join(t.__name__ for t in types)
            raise PackageError(f"'{key}' in '{path}' must be {wanted}, found {value!r}")
        if isinstance(value, int) and value < 0:
            raise PackageError(f"'{key}' in '{path}' must be at least 0, found {value}")
    missing = [key for key in _REQUIRED if not config.get(key)]
    if missing:
        raise PackageError(f"every model in '{path}' must have {' and '.join(missing)}")


def _check_model(folder: Path, base_path: str, path: Path) -> None:
    pure = PurePosixPath(base_path)
    if pure.is_absolute() or ".." in pure.parts:
        raise PackageError(f"'base_path' in '{path}' must lie in the package, found '{base_path}'")
    base = folder / base_path
    if not base.is_dir():
        raise PackageError(f"'base_path' in '{path}' must be a folder beside it: there is no '{base_path}'")
    for version in check_versions(base):
        networks = sorted(version.glob("*.xml"))
        if len(networks) != 1 or not networks[0].with_suffix(".bin").is_file():
            raise PackageError(f"'{version}' must hold one .xml and the .bin of the same name")
