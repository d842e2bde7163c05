"""A tokenizer as an IR: beside a network for clients, or in it, so that a server takes text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from qnas_ov.core.errors import InputError
from qnas_ov.core.optional import import_optional
from qnas_ov.deploy._networks import name_anew, open_core, reason_of

TEXT = "text"
"""Name of the input of a tokenizer, and of a network that has one in it."""

_IDS = "input_ids"


@dataclass(frozen=True)
class Tokenizer:
    """A checkpoint's tokenizer, and what OpenVINO makes of it.

    Attributes:
        original: As transformers loads it.
        model: The IR: strings (n,) to integers (n, length), padded and cut off at `length`.
        length: Tokens that the network takes.
    """

    original: Any
    model: ov.Model
    length: int


def takes_tokens(model: ov.Model) -> bool:
    """Whether a network takes `input_ids` of a fixed length."""
    shapes = [p.partial_shape for p in model.inputs if _IDS in p.get_names()]
    return bool(shapes) and len(shapes[0]) == 2 and shapes[0][1].is_static


def takes_any_number(model: ov.Model) -> bool:
    """Whether the batch is dynamic; the operations of openvino-tokenizers fail on texts of a fixed number."""
    return all(port.partial_shape[0].is_dynamic for port in model.inputs)


def convert_tokenizer(folder: Path, model: ov.Model) -> Tokenizer:
    """Converts the tokenizer of a Hugging Face folder for a network.

    Args:
        folder: It holds the tokenizer's files; nothing in it is run.
        model: The network, see `takes_tokens`.

    Raises:
        InputError: If it cannot be loaded or converted, or does not give what the network takes.
        MissingDependencyError: If openvino-tokenizers is missing or does not fit OpenVINO.
    """
    automatic = import_optional("transformers", name="AutoTokenizer")
    convert = import_optional("openvino_tokenizers", name="convert_tokenizer")
    length = int(next(p for p in model.inputs if _IDS in p.get_names()).partial_shape[1].get_length())
    try:
        original = automatic.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        converted = convert(original, max_length=length, truncation=True, use_max_padding=True)
    except Exception as error:  # tokenizers of many kinds, read by several packages, each with errors of its own
        raise InputError(f"its tokenizer cannot be converted: {reason_of(error)}") from error
    _forget_state(converted)
    converted.input(0).get_tensor().set_names({TEXT})
    name_anew(converted, kept=set(), prefix="tokenizer")
    converted.input(0).get_node().set_friendly_name(TEXT)
    given = {name for port in converted.outputs for name in port.get_names()}
    missing = sorted(p.get_any_name() for p in model.inputs if not given & p.get_names())
    if missing:
        raise InputError(f"its tokenizer gives {sorted(given)}, and the network needs '{missing[0]}'")
    return Tokenizer(original, converted, length)


def _forget_state(model: ov.Model) -> None:
    """Makes switches that requests could set, such as whether to cut off, constants: servers keep no state."""
    for sink in model.get_sinks():
        model.remove_sink(sink)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "ReadValue":
            node.output(0).replace(node.input_value(0))
    for variable in model.get_variables():
        model.remove_variable(variable)


def embed_tokenizer(model: ov.Model, tokenizer: Tokenizer) -> ov.Model:
    """Puts a tokenizer before a network: its one input becomes `text`, strings (batch,).

    Args:
        model: The network, see `convert_tokenizer` and `takes_any_number`; it is changed.
        tokenizer: Its tokenizer; it is used up.
    """
    tokens = {name: port for port in tokenizer.model.outputs for name in port.get_names()}
    text = tokenizer.model.get_parameters()[0]
    for parameter in list(model.get_parameters()):
        name = next(n for n in parameter.output(0).get_names() if n in tokens)
        value = tokens[name].get_node().input_value(0)
        # Told the length, the network stays as static as it was measured.
        shaped = ops.reshape(value, ops.constant(np.array([-1, tokenizer.length], dtype=np.int64)), False)
        typed = ops.convert(shaped, parameter.get_element_type().get_type_name())
        for reader in parameter.output(0).get_target_inputs():
            reader.replace_source_output(typed.output(0))
        model.remove_parameter(parameter)
    model.add_parameters([text])
    model.validate_nodes_and_infer_types()
    return model


def to_texts(tokenizer: Tokenizer, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Texts that become exactly these samples again.

    Args:
        tokenizer: The tokenizer, before it is embedded.
        inputs: Samples (n, length) by input name.

    Returns:
        Strings (m,), and which samples they are (m,), ascending. Texts with words that the vocabulary does not have, or
        of pairs of sentences, do not come back and are left out.
    """
    rows = inputs[_IDS]
    mask = inputs.get("attention_mask", np.ones_like(rows)).astype(bool)
    texts = np.array(
        [
            tokenizer.original.decode(row[kept].tolist(), skip_special_tokens=True)
            for row, kept in zip(rows, mask, strict=True)
        ],
        dtype=np.str_,
    )
    found = open_core(tokenizer=True).compile_model(tokenizer.model, "CPU")(texts)
    by_name = {name: array for port, array in found.items() for name in port.get_names()}
    same = np.all([(by_name[name] == array).all(axis=1) for name, array in inputs.items()], axis=0)
    return texts[same], np.flatnonzero(same)
