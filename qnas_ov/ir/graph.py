"""Small questions about OpenVINO graphs that the other modules of this room share."""

from __future__ import annotations

import re
from collections.abc import Iterator

import openvino as ov

_MODULE = re.compile(r"^__module\.([^/]+)/")


def nodes_by_name(model: ov.Model) -> dict[str, ov.Node]:
    """All operations of a model by friendly name."""
    return {node.get_friendly_name(): node for node in model.get_ops()}


def module_path(name: str) -> str | None:
    """The torch module path in a friendly name, or None for a node that no module owns."""
    match = _MODULE.match(name)
    return match.group(1) if match else None


def inside(path: str | None, block: str) -> bool:
    """Whether a module path is `block` or lies below it."""
    return path is not None and (path == block or path.startswith(block + "."))


def is_constant_input(port: ov.Input) -> bool:
    """Whether everything that feeds this input is constant."""
    node = port.get_source_output().get_node()
    if node.get_type_name() == "Constant":
        return True
    if node.get_type_name() in ("Parameter", "ReadValue") or node.get_input_size() == 0:
        return False
    return all(is_constant_input(source) for source in node.inputs())


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
