"""Opens a user's network (OpenVINO IR, ONNX or a local Hugging Face folder) for a search of quantization policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as opset

from qnas_ov.core.errors import InputError, OpenAxesError
from qnas_ov.families import InputSpec, read_json
from qnas_ov.ir.formats import IR_NAME, has_own_code, last_line, read_network
from qnas_ov.ir.own_code import export_own_code

_WEIGHTED = {
    "MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "Gather",
}  # fmt: skip
_MOVES_DATA = {"Convert", "Reshape", "Select", "Squeeze", "Transpose", "Unsqueeze"}
_BATCH_TOLERANCE = 1e-4
"""Largest difference between batches, relative to the largest output: above the noise of FP32 kernels."""
_SAME_INTEGERS = 0.99
"""Share of integer outputs that batches must agree on: an argmax over many pixels meets ties."""

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class OpenedNetwork:
    """A network whose architecture is given: only its quantization policy can be searched.

    Attributes:
        model: The FP32 network: batch axis dynamic where the graph allows it, every other axis of its inputs static.
        inputs: Its inputs.
        num_classes: C if the first output has shape (batch, C) with C >= 2, else None.
        dynamic_batch: False if the graph only works with a batch of 1, which `model` then keeps.
        transformer: Whether NNCF's scheme for transformers fits it.
        config: `config.json` of a Hugging Face folder, else None.
        preprocessor: `preprocessor_config.json` of such a folder if there is one, else None.
        labels: Names of the classes, in order, if the folder states one for every class, else empty.
        own_code: Whether Python code of the folder was run.
    """

    model: ov.Model
    inputs: tuple[InputSpec, ...]
    num_classes: int | None
    dynamic_batch: bool
    transformer: bool
    config: dict[str, Any] | None = None
    preprocessor: dict[str, Any] | None = None
    labels: tuple[str, ...] = ()
    own_code: bool = False


def open_network(path: Path, shapes: Shapes | None = None, *, trust_remote_code: bool = False) -> OpenedNetwork:
    """Opens a network and brings it into the form that the search needs.

    Weights stored in FP16 or BF16 (a constant and a Convert) become FP32 constants. NNCF 3.4 does quantize them as they
    are, but it keeps the FP16 constants, and so does `save_model(compress_to_fp16=False)`: the float network would have
    half its size, the INT8 one a mixture of both, and sizes would not compare. A network that also *computes* in FP16
    or BF16 is refused.

    The batch axis (axis 0 of every input) is made dynamic if all outputs follow it and a batch of 2 gives what two
    batches of 1 give, on random inputs under the f32 hint.

    Args:
        path: An OpenVINO `.xml` with its `.bin`, an `.onnx`, or a local Hugging Face folder with `config.json` and
            either `openvino_model.xml` or safetensors. Nothing is unpickled or fetched.
        shapes: Whole shapes by input name (1 or -1 for the batch), needed where an axis other than the batch is
            dynamic; the key "" stands for all inputs that are not named.
        trust_remote_code: Whether Python code in a folder may run, where transformers does not know its type.

    Raises:
        InputError: If the file cannot be read, the shapes do not fit, or the network is quantized already.
    """
    config = read_json(path / "config.json") if path.is_dir() else None
    own_code = trust_remote_code and not (path / IR_NAME).exists() and config is not None and has_own_code(config)
    model = export_own_code(path, config or {}, shapes or {}) if own_code else read_network(path, config)
    opened = open_model(model, path, shapes, config=config)
    return replace(
        opened,
        config=config,
        preprocessor=read_json(path / "preprocessor_config.json") if path.is_dir() else None,
        labels=_labels(config or {}, opened.num_classes),
        own_code=own_code,
    )


def open_model(
    model: ov.Model, name: Path | str, shapes: Shapes | None = None, *, config: Mapping[str, Any] | None = None
) -> OpenedNetwork:
    """Brings a network that OpenVINO has read or converted into the form that the search needs.

    Args:
        model: The network; it is changed.
        name: What it is called in an error.
        shapes: As for `open_network`.
        config: `config.json` of the checkpoint it came from: errors propose shapes that fit it.

    Raises:
        InputError: As `open_network`.
    """
    _name_ports(model)
    _check_kind(model, name)
    _widen_constants(model)
    axes = _static_axes(model, _shapes_by_input(model, shapes or {}, name), name, config or {})
    batched = _with_dynamic_batch(model, axes)
    model = batched or _with_batch_of_one(model, axes, name)
    return OpenedNetwork(
        model=model,
        inputs=tuple(InputSpec(p.get_any_name(), axes[p.get_any_name()], _dtype_name(p)) for p in model.inputs),
        num_classes=_num_classes(model),
        dynamic_batch=batched is not None,
        transformer=_is_transformer(model),
    )


def _name_ports(model: ov.Model) -> None:
    for port in (*model.inputs, *model.outputs):
        if not port.get_names():
            port.get_tensor().set_names({port.get_node().get_friendly_name()})


def _dtype_name(port: ov.Output) -> str:
    return port.get_element_type().to_dtype().name


def _check_kind(model: ov.Model, path: Path | str) -> None:
    for ports, word in ((model.inputs, "input"), (model.outputs, "output")):
        if not ports:
            raise InputError(
                f"cannot search '{path}': a network must have an input and an output, and it has no {word}; "
                "export it again"
            )
    for port in model.inputs:
        if port.get_element_type() == ov.Type.string:
            raise InputError(
                f"cannot search '{path}': inputs must hold numbers, and '{port.get_any_name()}' takes strings; "
                "give the network without its tokenizer"
            )
    if name := _quantized_operation(model):
        raise InputError(
            f"cannot search '{path}': it must be a float network, and it is quantized already (at '{name}'); "
            "give the network it was made from"
        )
    if name := _half_operation(model):
        raise InputError(
            f"cannot search '{path}': it must compute in FP32, and '{name}' computes in half precision; "
            "export it in FP32 (weights stored in FP16 are fine)"
        )


def _constant_ids(model: ov.Model) -> set[int]:
    """Instance ids of the operations whose value no input changes."""
    found: set[int] = set()
    for node in model.get_ordered_ops():
        sources = [value.get_node().get_instance_id() for value in node.input_values()]
        if node.get_type_name() == "Constant" or (
            sources and node.get_type_name() != "ReadValue" and all(s in found for s in sources)
        ):
            found.add(node.get_instance_id())
    return found


def _quantized_operation(model: ov.Model) -> str | None:
    """Name of an operation that quantizes, or whose weights are computed from narrow integers or floats."""
    constant = _constant_ids(model)
    narrow: set[int] = set()
    unpacked: set[int] = set()
    for node in model.get_ordered_ops():
        kind, sources = node.get_type_name(), [v.get_node().get_instance_id() for v in node.input_values()]
        weights = sources[:1] if kind == "Gather" else sources
        if kind in ("FakeQuantize", "FakeConvert") or (kind in _WEIGHTED and any(s in unpacked for s in weights)):
            return node.get_friendly_name()
        if kind == "Constant":
            dtype = node.get_output_element_type(0)
            if dtype.bitwidth <= 8 and dtype != ov.Type.boolean:
                narrow.add(node.get_instance_id())
        elif node.get_instance_id() in constant and any(s in narrow or s in unpacked for s in sources):
            unpacked.add(node.get_instance_id())
    return None


def _half_operation(model: ov.Model) -> str | None:
    constant = _constant_ids(model)
    for node in model.get_ordered_ops():
        if node.get_instance_id() not in constant and any(
            o.get_element_type() in (ov.Type.f16, ov.Type.bf16) for o in node.outputs()
        ):
            return node.get_friendly_name()
    return None


def _widen_constants(model: ov.Model) -> None:
    """Replaces FP16 and BF16 constants that are converted to FP32 by FP32 constants."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convert" or node.get_output_element_type(0) != ov.Type.f32:
            continue
        stored = node.input_value(0).get_node()
        if stored.get_type_name() == "Constant" and stored.get_output_element_type(0) in (ov.Type.f16, ov.Type.bf16):
            wide = opset.constant(stored.get_data(dtype=np.float32))
            wide.set_friendly_name(node.get_friendly_name())
            node.output(0).replace(wide.output(0))


def _is_transformer(model: ov.Model) -> bool:
    """Whether it has attention: the operation itself, or a softmax that is multiplied by another activation."""
    nodes = model.get_ops()
    if any(node.get_type_name() == "ScaledDotProductAttention" for node in nodes):
        return True
    constant = _constant_ids(model)
    waiting = [node.output(0) for node in nodes if node.get_type_name() == "Softmax"]
    while waiting:
        for port in waiting.pop().get_target_inputs():
            reader = port.get_node()
            sources = {value.get_node().get_instance_id() for value in reader.input_values()}
            if reader.get_type_name() == "MatMul" and not sources & constant:
                return True
            if reader.get_type_name() in _MOVES_DATA:
                waiting.append(reader.output(0))
    return False


def _shapes_by_input(model: ov.Model, shapes: Shapes, path: Path | str) -> dict[str, tuple[int, ...]]:
    """The given shapes by the name that each input goes by here."""
    names = {alias: p.get_any_name() for p in model.inputs for alias in p.get_names()}
    known = ", ".join(f"'{p.get_any_name()}'" for p in model.inputs)
    found: dict[str, tuple[int, ...]] = {}
    for given, shape in shapes.items():
        if not given:
            continue
        name = names.get(given)
        if name is None:
            raise InputError(f"'{path}' has no input '{given}' to give a shape: its inputs are {known}")
        if name in found:
            raise InputError(f"input '{name}' of '{path}' must be given one shape: it was given two")
        found[name] = tuple(int(length) for length in shape)
    if "" in shapes:
        others = [p.get_any_name() for p in model.inputs if p.get_any_name() not in found]
        if not others:
            raise InputError(f"all inputs of '{path}' ({known}) have a shape already: leave out that without a name")
        found |= dict.fromkeys(others, tuple(int(length) for length in shapes[""]))
    return found


def _static_axes(
    model: ov.Model, shapes: Mapping[str, tuple[int, ...]], path: Path | str, config: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs without the batch axis."""
    axes: dict[str, tuple[int, ...]] = {}
    unknown: list[ov.Output] = []
    for port in model.inputs:
        name, partial = port.get_any_name(), port.get_partial_shape()
        if name in shapes:
            _check_shape(name, shapes[name], partial, path)
            axes[name] = shapes[name][1:]
        elif partial.rank.is_static and len(partial) == 0:
            raise InputError(f"the first axis of every input must be the batch: '{name}' of '{path}' has no axis")
        elif image := _stated_image(partial, config):
            axes[name] = image
        elif partial.rank.is_dynamic or any(d.is_dynamic for d in list(partial)[1:]):
            unknown.append(port)
        else:
            axes[name] = tuple(d.get_length() for d in list(partial)[1:])
    if unknown:
        stated = ", ".join(f"'{p.get_any_name()}' {p.get_partial_shape()}" for p in unknown)
        example = " ".join(f"--shape '{p.get_any_name()}{_example_shape(p)}'" for p in unknown)
        raise OpenAxesError(
            f"every axis but the batch must have one length: '{path}' leaves axes open in {stated}; "
            f"state them, for example with {example}"
        )
    return axes


def _stated_image(partial: ov.PartialShape, config: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Channels, height and width of an image input that leaves open only what the configuration states."""
    side = config.get("image_size")
    height, width = side if isinstance(side, list) and len(side) == 2 else (side, side)
    if not (type(height) is int and type(width) is int) or partial.rank.is_dynamic or len(partial) != 4:
        return None
    axes = list(partial)[1:]
    if axes[0].is_dynamic or not (axes[1].is_dynamic and axes[2].is_dynamic):
        return None
    return int(axes[0].get_length()), height, width


def _check_shape(name: str, shape: tuple[int, ...], partial: ov.PartialShape, path: Path | str) -> None:
    given = f"'{name}' of '{path}' has shape {partial} and was given [{','.join(map(str, shape))}]"
    if not shape or shape[0] not in (1, -1) or min(shape[1:], default=1) < 1:
        raise InputError(f"a shape must state 1 or -1 for the batch and a length of at least 1 for every axis: {given}")
    if not partial.compatible(ov.PartialShape([-1, *shape[1:]])):
        raise InputError(f"a shape must keep the number of axes and those that are fixed: {given}")


def _example_shape(port: ov.Output) -> str:
    partial = port.get_partial_shape()
    if partial.rank.is_dynamic:
        return "[1,3,224,224]"
    usual = (1, 3, 224, 224) if len(partial) == 4 else (1, *[128] * (len(partial) - 1))
    lengths = [u if d.is_dynamic else d.get_length() for d, u in zip(partial, usual, strict=True)]
    return f"[{','.join(map(str, [1, *lengths[1:]]))}]"


def _with_dynamic_batch(model: ov.Model, axes: Mapping[str, tuple[int, ...]]) -> ov.Model | None:
    """A clone with a dynamic batch axis, or None if the graph does not work with every batch."""
    clone = model.clone()
    try:
        clone.reshape({name: ov.PartialShape([-1, *shape]) for name, shape in axes.items()})
        shapes = [port.get_partial_shape() for port in clone.outputs]
        follows = all(s.rank.is_static and len(s) > 0 and s[0].is_dynamic for s in shapes)
        return clone if follows and _batches_agree(clone) else None
    except RuntimeError:
        return None


def _batches_agree(model: ov.Model) -> bool:
    """Whether a batch of 2 gives what two batches of 1 give."""
    samples = _random_inputs(model, batch=2)
    pairs = _infer(model, [samples, *({n: a[i : i + 1] for n, a in samples.items()} for i in (0, 1))])
    return all(
        a.shape[:1] == b.shape[:1] == (1,) and _agree(both, np.concatenate([a, b]))
        for both, a, b in zip(*pairs, strict=True)
    )


def _random_inputs(model: ov.Model, *, batch: int) -> dict[str, np.ndarray]:
    """Random samples; integers are 0 or 1 (which tokens, masks and segments may all be) and differ between samples."""
    rng = np.random.default_rng(0)
    samples = {}
    for port in model.inputs:
        dtype, shape = np.dtype(_dtype_name(port)), [d.get_length() for d in list(port.get_partial_shape())[1:]]
        if dtype.kind == "f":
            values = rng.normal(size=(batch, *shape))
        else:
            first = rng.integers(0, 2, size=shape)
            values = np.stack([np.abs(first - i % 2) for i in range(batch)])
        samples[port.get_any_name()] = values.astype(dtype)
    return samples


def _infer(model: ov.Model, batches: Sequence[dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
    """The outputs of every batch, each from a fresh request: a network may keep a state."""
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = []
    for batch in batches:
        outputs = compiled.create_infer_request().infer(batch)
        results.append([np.array(outputs[i]) for i in range(len(model.outputs))])
    return results


def _agree(given: np.ndarray, wanted: np.ndarray) -> bool:
    if given.shape != wanted.shape:
        return False
    if given.dtype.kind != "f":
        return bool(np.mean(given == wanted) >= _SAME_INTEGERS)
    scale = float(np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted)))
    return bool(np.allclose(given, wanted, rtol=0.0, atol=_BATCH_TOLERANCE * scale, equal_nan=True))


def _with_batch_of_one(model: ov.Model, axes: Mapping[str, tuple[int, ...]], path: Path | str) -> ov.Model:
    for port in model.inputs:
        partial = port.get_partial_shape()
        if partial.rank.is_static and partial[0].is_static and partial[0].get_length() != 1:
            raise InputError(
                f"the batch must be dynamic or 1: input '{port.get_any_name()}' of '{path}' has a batch of "
                f"{partial[0].get_length()} that the graph cannot change; export it with a dynamic batch"
            )
    clone = model.clone()
    given = ", ".join(f"'{name}' [{','.join(map(str, (1, *shape)))}]" for name, shape in axes.items())
    try:
        clone.reshape({name: ov.PartialShape([1, *shape]) for name, shape in axes.items()})
        _infer(clone, [_random_inputs(clone, batch=1)])
    except RuntimeError as error:
        raise InputError(
            f"'{path}' does not run with inputs {given}: {last_line(error)}; give shapes that fit it"
        ) from error
    return clone


def _num_classes(model: ov.Model) -> int | None:
    partial = model.outputs[0].get_partial_shape()
    if partial.rank.is_dynamic or len(partial) != 2 or partial[1].is_dynamic or partial[1].get_length() < 2:
        return None
    return int(partial[1].get_length())


def _labels(config: Mapping[str, Any], num_classes: int | None) -> tuple[str, ...]:
    stated = config.get("id2label")
    if num_classes is None or not isinstance(stated, dict) or set(stated) != {str(i) for i in range(num_classes)}:
        return ()
    return tuple(str(stated[str(i)]) for i in range(num_classes))
