"""From torch to OpenVINO IR in FP32, with a dynamic batch axis: a supernet, or any module of the user."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import openvino as ov
import torch

from qnas_ov.core.errors import GraphError, InputError
from qnas_ov.families import Supernet, first_line
from qnas_ov.ir.graph import scope_name

Array = torch.Tensor | np.ndarray
ExampleInputs = Array | Sequence[Array] | Mapping[str, Array]


def export_supernet(supernet: Supernet) -> ov.Model:
    """Converts the largest network of a supernet.

    Returns:
        The IR: inputs named as in `supernet.inputs` with shape (?, ...), one output named `supernet.output`.
    """
    example = {s.name: torch.zeros((1, *s.shape), dtype=getattr(torch, s.dtype)) for s in supernet.inputs}
    shapes = [(s.name, ov.PartialShape([-1, *s.shape])) for s in supernet.inputs]
    with _quiet_tracer():
        model = ov.convert_model(supernet.model.eval(), example_input=example, input=shapes)
    for port in model.inputs:
        (name,) = port.get_names() & {spec.name for spec in supernet.inputs}  # the tracer may add numbers as names
        port.get_tensor().set_names({name})
    model.outputs[0].get_tensor().set_names({supernet.output})
    for norm, convolution in supernet.batch_norms.items():
        _name_fused(model, norm, convolution)
    return model


def _name_fused(model: ov.Model, norm: str, convolution: str) -> None:
    """Gives a convolution that was fused with its normalisation, and has a number as its name, that of its module."""
    for node in model.get_ops():
        if node.get_type_name() == "Convolution" and scope_name(node) == f"__module.{norm}/Convolution":
            node.set_friendly_name(f"__module.{convolution}/aten::_convolution/Convolution")
            return
    raise GraphError(f"the exported graph has no convolution before '{norm}'")


def export_module(module: torch.nn.Module, example_inputs: ExampleInputs) -> ov.Model:
    """Converts a user's module as it computes in evaluation mode; the module is left as it was.

    Args:
        module: It takes tensors whose first axis is the batch.
        example_inputs: What its `forward` takes: tensors by name, a sequence in order, or a single one. Their first
            sample is traced; all axes but the first keep their lengths.

    Returns:
        The IR, with inputs named as in `forward`.

    Raises:
        InputError: If the examples do not fit the module, or OpenVINO cannot convert it.
    """
    name = type(module).__name__
    example = _first_samples(example_inputs, name)
    modes = [(part, part.training) for part in module.modules()]
    try:
        with _quiet_tracer():
            _try_forward(module.eval(), example, name)
            if isinstance(example, dict):
                inputs = [(key, _open_shape(t)) for key, t in example.items()]
            else:
                inputs = [_open_shape(t) for t in example]
            return ov.convert_model(module, example_input=example, input=inputs)
    except InputError:
        raise
    except Exception as error:  # tracing runs the module's own Python, which raises whatever it raises
        raise InputError(
            f"cannot convert the module {name}: {first_line(error)}; export it to ONNX in another way and give that"
        ) from error
    finally:
        for part, training in modes:
            part.training = training


def _first_samples(given: ExampleInputs, name: str) -> dict[str, torch.Tensor] | tuple[torch.Tensor, ...]:
    if isinstance(given, Mapping):
        return {str(key): _first_sample(array, f"'{key}'", name) for key, array in given.items()}
    arrays = [given] if isinstance(given, torch.Tensor | np.ndarray) else list(given)
    if not arrays:
        raise InputError(f"example_inputs of the module {name} must hold a tensor for each of its inputs: got none")
    return tuple(_first_sample(array, str(i), name) for i, array in enumerate(arrays))


def _first_sample(array: Array, which: str, name: str) -> torch.Tensor:
    if not isinstance(array, torch.Tensor | np.ndarray) or array.ndim == 0 or len(array) == 0:
        got = f"shape {tuple(array.shape)}" if hasattr(array, "shape") else type(array).__name__
        raise InputError(
            f"example input {which} of the module {name} must be a tensor or array whose first axis is a batch of at "
            f"least 1: got {got}"
        )
    return torch.as_tensor(array)[:1]


def _try_forward(
    module: torch.nn.Module, example: dict[str, torch.Tensor] | tuple[torch.Tensor, ...], name: str
) -> None:
    """Runs it once as Python: of what a tracer raises, little can be read."""
    try:
        module(**example) if isinstance(example, dict) else module(*example)
    except Exception as error:
        raise InputError(
            f"the module {name} does not run on example_inputs ({type(error).__name__}: {first_line(error)}); give "
            "what its forward takes: tensors by name, or a sequence in order"
        ) from error


def _open_shape(tensor: torch.Tensor) -> ov.PartialShape:
    return ov.PartialShape([-1, *tensor.shape[1:]])


@contextmanager
def _quiet_tracer() -> Iterator[None]:
    """Without gradients, and without warnings of Python branches that the network never takes."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the tracer reads every attribute, of which some warn
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
