"""Small questions about OpenVINO graphs that the other modules of this room share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

import numpy as np
import openvino as ov

from qnas_ov.core.fingerprint import digest_arrays, digest_json

_SMOOTH = "/nncf_smooth_quant"
_MODULE = re.compile(r"^__module\.([^/]+)/")
_MOST_CONSTANT_NODES = 100
_MAC_TYPES = {"MatMul", "Convolution", "GroupConvolution", "ScaledDotProductAttention"}


def nodes_by_name(model: ov.Model) -> dict[str, ov.Node]:
    """All operations of a model by friendly name."""
    return {node.get_friendly_name(): node for node in model.get_ops()}


def weights_digest(model: ov.Model) -> str:
    """SHA-256 of a network's float constants of more than one number.

    Their names and their order do not count, so that two exports of the same weights agree.
    """
    constants = [n for n in model.get_ops() if n.get_type_name() == "Constant"]
    arrays = [np.asarray(n.data) for n in constants if n.get_output_element_type(0).is_real()]
    return digest_json(sorted({digest_arrays({"": a}) for a in arrays if a.size > 1}))


def module_path(name: str) -> str | None:
    """The torch module path in a friendly name, or None for a node that no module owns."""
    match = _MODULE.match(name)
    return match.group(1) if match else None


def served_module(node: ov.Node) -> str | None:
    """The torch module that an operation belongs to.

    A quantizer, and a multiplication by SmoothQuant, belong to what reads them and vanish with it; where several
    modules do, to the innermost module that holds all of these.
    """
    name = node.get_friendly_name()
    if node.get_type_name() != "FakeQuantize" and not name.endswith(_SMOOTH):
        return module_path(name)
    readers = [served_module(port.get_node()) for port in node.output(0).get_target_inputs()]
    paths = [path.split(".") for path in readers if path is not None]
    if not paths or len(paths) < len(readers):
        return module_path(name)
    same = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in same)


def inside(path: str | None, block: str) -> bool:
    """Whether a module path is `block` or lies below it."""
    return path is not None and (path == block or path.startswith(block + "."))


def is_constant_input(port: ov.Input) -> bool:
    """Whether everything that feeds this input is constant.

    Weights are a constant with a few operations behind it (Convert, scale, FakeQuantize); where more than
    `_MOST_CONSTANT_NODES` nodes lie behind an input, it is an activation.
    """
    waiting = [port.get_source_output().get_node()]
    for _ in range(_MOST_CONSTANT_NODES):
        if not waiting:
            return True
        node = waiting.pop()
        if node.get_type_name() == "Constant":
            continue
        if node.get_type_name() in ("Parameter", "ReadValue") or node.get_input_size() == 0:
            return False
        waiting += [source.get_node() for source in node.input_values()]
    return False


def constant_leaves(port: ov.Input) -> Iterator[tuple[ov.Input, ov.Node]]:
    """The Constant nodes that feed an input, each with the input that reads it (Convert, scale, ... in between)."""
    node = port.get_source_output().get_node()
    if node.get_type_name() == "Constant":
        yield port, node
        return
    for source in node.inputs():
        yield from constant_leaves(source)


def axis_length(shape: ov.PartialShape, axis: int) -> int | None:
    """Length of an axis, or None if it is dynamic."""
    dimension = shape[axis]
    return None if dimension.is_dynamic else int(dimension.get_length())


def node_macs(node: ov.Node) -> int:
    """Multiply-accumulates of one operation of static shape; 0 for types that have none."""
    kind = node.get_type_name()
    if kind not in _MAC_TYPES:
        return 0
    output = int(np.prod(node.get_output_shape(0)))
    if kind == "MatMul":
        shape = node.get_input_shape(0)
        return output * int(shape[-2 if node.get_attributes()["transpose_a"] else -1])
    if kind == "ScaledDotProductAttention":
        query, key = node.get_input_shape(0), node.get_input_shape(1)
        return (int(np.prod(query)) + output) * int(key[-2])
    weights = node.get_input_shape(1)
    per_output = weights[1:] if kind == "Convolution" else weights[2:]
    return output * int(np.prod(per_output))


def count_macs(model: ov.Model) -> int:
    """Multiply-accumulates of one sample through a network."""
    return sum(node_macs(n) for n in of_one_sample(model).get_ops())


def of_one_sample(model: ov.Model) -> ov.Model:
    """A clone with a batch axis of 1."""
    single = model.clone()
    single.reshape({p: ov.PartialShape([1, *list(p.get_partial_shape())[1:]]) for p in single.inputs})
    return single


def scope_name(node: ov.Node) -> str:
    """The node's name; for one that a transformation named by a number, the module that its result flows into.

    A convolution fused with its normalisation is called "Multiply_6594": it becomes
    "__module.<path of the normalisation>/Convolution".
    """
    name = node.get_friendly_name()
    current = node
    while re.fullmatch(r"[A-Za-z]+_\d+", current.get_friendly_name()):
        readers = list(current.output(0).get_target_inputs())
        if not readers:
            return name
        current = min((r.get_node() for r in readers), key=lambda n: n.get_friendly_name())
    path = module_path(current.get_friendly_name())
    return name if path is None or current is node else f"__module.{path}/{node.get_type_name()}"
