"""Reads Hugging Face folders: what must lie in one, and whether the weights fit the configuration."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.families.base import CONFIG_KEY

WEIGHTS_NAME = "model.safetensors"
_NAMED = 5
_HEAD = re.compile(r"(^|\.)(classifier|cls_classifier|distillation_classifier|head)(\.|$)")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None if there is no such file.

    Raises:
        InputError: If it is damaged or no object.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read '{path}' as JSON: {first_line(error)}; restore it from its source") from error
    if not isinstance(value, dict):
        raise InputError(f"cannot use '{path}': it must hold a JSON object and holds {type(value).__name__}")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint.

    Raises:
        InputError: If the folder has none, or its entry of this project is no object.
    """
    config = read_json(folder / "config.json")
    if config is None:
        raise InputError(
            f"the checkpoint '{folder}' must hold config.json: give the folder of a Hugging Face checkpoint"
        )
    if not isinstance(config.get(CONFIG_KEY, {}), dict):
        raise InputError(
            f"'{CONFIG_KEY}' in '{folder / 'config.json'}' must be an object of choices by dimension: got "
            f"{config[CONFIG_KEY]!r}; correct it or take it out"
        )
    return config


def is_of(config: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> bool:
    """Whether config.json states one class, alone, among the known ones of its type.

    Args:
        config: config.json as it is.
        classes: Classes of transformers by model type.
    """
    stated = config.get("architectures")
    return isinstance(stated, list) and len(stated) == 1 and stated[0] in classes.get(str(config.get("model_type")), ())


def check_type(folder: Path, config: Mapping[str, Any], *, family: str, types: Sequence[str]) -> None:
    """Refuses the checkpoint of another family.

    Raises:
        InputError: With the type that config.json names.
    """
    found = config.get("model_type")
    if found not in types:
        raise InputError(
            f"the family '{family}' takes checkpoints of type {' or '.join(types)}: config.json in '{folder}' says "
            f"{found!r}; give the family or the model that belongs to it"
        )


def check_class(config: Mapping[str, Any], known: Sequence[str], *, family: str, purpose: str) -> str:
    """The class of transformers that config.json names, or the first known one if it names none.

    Raises:
        InputError: If the family has no use for that class.
    """
    stated = str((config.get("architectures") or known)[0])
    if stated not in known:
        raise InputError(
            f"the family '{family}' needs a network for {purpose} ({' or '.join(known)}): config.json names "
            f"'{stated}'; give a checkpoint that was fine-tuned for it"
        )
    return stated


def parse_config(config_class: Any, config: Mapping[str, Any]) -> Any:
    """config.json as an object of transformers, without this project's own entry.

    Raises:
        InputError: If transformers refuses an entry, or the labels contradict each other.
    """
    check_labels(config)
    with quiet_transformers():
        try:
            return config_class(**{name: value for name, value in config.items() if name != CONFIG_KEY})
        except Exception as error:  # huggingface_hub validates with errors of its own
            raise InputError(
                f"transformers refuses this config.json: {first_line(error)}; correct it or restore it from its source"
            ) from error


def with_defaults(config: Mapping[str, Any], parsed: Any, names: Sequence[str]) -> dict[str, Any]:
    """The configuration with what its class takes for entries that config.json leaves out.

    Args:
        config: config.json as it is.
        parsed: The same as an object of transformers.
        names: The entries that must be there.
    """
    return {**{name: getattr(parsed, name) for name in names}, **config}


def check_labels(config: Mapping[str, Any]) -> None:
    """Compares the classes that config.json names with those that it counts.

    Raises:
        InputError: If they differ.
    """
    named, counted = config.get("id2label"), config.get("num_labels")
    if isinstance(named, dict) and counted is not None and len(named) != counted:
        raise InputError(
            f"the labels in config.json must match its num_labels: id2label names {len(named)}, num_labels is "
            f"{counted}; correct one of them"
        )


def check_weights(folder: Path) -> None:
    """Lets only safetensors pass: any other format is a pickle, which can run code.

    Raises:
        InputError: If the weights are missing, incomplete or pickled.
    """
    if (folder / WEIGHTS_NAME).is_file():
        return
    index = read_json(folder / f"{WEIGHTS_NAME}.index.json")
    if index is not None:
        _check_shards(folder, index)
    elif pickles := sorted(p.name for p in folder.glob("*.bin")):
        raise InputError(
            f"cannot open '{folder}': its weights must be {WEIGHTS_NAME}, and '{pickles[0]}' is a pickle, which can "
            "run code and is never read; save it with `save_pretrained(folder, safe_serialization=True)`"
        )
    else:
        raise InputError(
            f"cannot open '{folder}': it must hold openvino_model.xml or {WEIGHTS_NAME}, and neither is there; "
            "copy the whole checkpoint"
        )


def _check_shards(folder: Path, index: dict[str, Any]) -> None:
    shards = index.get("weight_map")
    for name in sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else ["no shards"]:
        if not name.endswith(".safetensors") or not (folder / name).is_file():
            raise InputError(
                f"cannot open '{folder}': {WEIGHTS_NAME}.index.json must name safetensors that lie beside it, and it "
                f"names '{name}'; copy the whole checkpoint"
            )


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by name, for a class that transformers does not have.

    Raises:
        InputError: If the files are missing, unsafe or damaged.
    """
    check_weights(folder)
    index = read_json(folder / f"{WEIGHTS_NAME}.index.json")
    whole = (folder / WEIGHTS_NAME).is_file() or index is None
    names = [WEIGHTS_NAME] if whole or index is None else sorted(set(index["weight_map"].values()))
    try:
        return {key: tensor for name in names for key, tensor in load_file(folder / name).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"cannot load the checkpoint '{folder}': {first_line(error)}; use the files of one whole checkpoint"
        ) from error


@dataclass(frozen=True)
class Differences:
    """Names of tensors that a checkpoint lacks, has beyond its class, in another shape, or with NaN or infinity."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    not_finite: tuple[str, ...] = ()


def find_not_finite(tensors: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Names of the tensors that hold NaN or infinity."""
    return tuple(sorted(n for n, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())))


def open_pretrained(
    network_class: Any, folder: Path, *, trust_remote_code: bool = False, **given: Any
) -> tuple[torch.nn.Module, Differences]:
    """Loads a checkpoint into a class of transformers, in FP32 and evaluation mode.

    Args:
        network_class: A class, or one of transformers' `Auto...` classes.
        folder: The checkpoint.
        trust_remote_code: Whether Python code in the folder may run.
        given: More arguments of `from_pretrained`, for instance `config`.

    Raises:
        InputError: If the files are missing, or the class refuses them.
    """
    check_weights(folder)
    with quiet_transformers():
        try:
            network, report = network_class.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,  # only so that the report names them
                output_loading_info=True,
                **given,
            )
        except Exception as error:  # configurations are checked by several packages, each with errors of its own
            raise InputError(
                f"cannot load the checkpoint '{folder}': {first_line(error)}; use the files of one whole checkpoint"
            ) from error
    mismatched = [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]]
    differences = Differences(
        missing=tuple(sorted(report["missing_keys"])),
        unexpected=tuple(sorted(report["unexpected_keys"])),
        mismatched=tuple(sorted(mismatched)),
        not_finite=find_not_finite(network.state_dict()),
    )
    return network.float().eval(), differences


def refuse_differences(folder: Path, found: Differences, *, may_have: Sequence[str] = ()) -> None:
    """Names the tensors that do not fit, or hold what no network computes with.

    Args:
        folder: The checkpoint.
        found: What was found in it.
        may_have: Beginnings of names of tensors that the class has no use for.

    Raises:
        InputError: If there are any.
    """
    unexpected = [name for name in found.unexpected if not name.startswith(tuple(may_have))]
    if not (found.missing or unexpected or found.mismatched):
        if found.not_finite:
            raise InputError(
                f"the weights in '{folder}' must be finite: {_names(found.not_finite)} hold NaN or infinity; restore "
                "them from their source, or train again with a lower --learning-rate"
            )
        return
    if found.mismatched and all(_HEAD.search(name) for name in found.mismatched) and not (found.missing or unexpected):
        raise InputError(
            f"the labels in config.json of '{folder}' do not match its head: {_names(found.mismatched)} would have "
            "another shape by its num_labels or id2label; use the two files of one checkpoint"
        )
    raise InputError(
        f"the weights in '{folder}' do not fit its config.json: missing {_names(found.missing)}, unexpected "
        f"{_names(unexpected)}, of another shape {_names(found.mismatched)}; use the files of one whole checkpoint"
    )


def _names(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{list(names[:_NAMED])}{more}"


def first_line(error: BaseException) -> str:
    """What an exception of transformers or of its export says: advice stands last, a tracer's cause in the middle."""
    told = [line.strip() for line in str(error).split("Exception:\n")[-1].splitlines() if line.strip()]
    return one_sentence(told[0]) if told else type(error).__name__


def one_sentence(text: str) -> str:
    """The first sentence of a text, at most 200 characters, without a full stop."""
    return re.split(r"[.;]\s", text)[0].rstrip(".:; ")[:200]


@contextmanager
def quiet_transformers() -> Iterator[None]:
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
