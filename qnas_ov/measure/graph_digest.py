"""The digest under which measurements of a graph are kept: equal for equal graphs, whatever their names and paths."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from xml.etree import ElementTree as ET

from qnas_ov.core.errors import InputError

# Of the attributes beside operations only these reach the compiler: options that conversion leaves for the device.
_RUNTIME_OPTIONS = "runtime_options"
# Names of operations that were fused into one: they say where it came from, not what it does.
_NAMES_ONLY = {"fused_names"}
_UNNAMED = {"net": {"name"}, "layer": {"name", "output_names"}, "port": {"names"}}


def digest_graph(model: Path) -> str:
    """SHA-256 of an IR's operations, their attributes, edges and constants, and of nothing else.

    Names of operations and tensors, the place of a constant in the .bin, and the record of how the network was made do
    not count. The order of operations does: it is that of the file.

    Args:
        model: The .xml; its .bin stands beside it.

    Raises:
        InputError: If a file is missing or damaged.
    """
    weights = model.with_suffix(".bin")
    try:
        root = ET.parse(model).getroot()  # noqa: S314 - the user's own file, which OpenVINO parses too
        with open(weights, "rb") as stream:
            # An empty file cannot be mapped.
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if weights.stat().st_size else b""
            parts: list[str] = []
            _write(parts, root, _Constants(memoryview(data)))
            return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    except (OSError, ET.ParseError, ValueError, KeyError) as error:
        raise InputError(f"cannot read the IR '{model}' ({error}): give an .xml with its .bin beside it") from error


class _Constants:
    """Digests of the constants in a .bin; many are shared."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._known: dict[tuple[int, int], str] = {}

    def digest(self, start: int, size: int) -> str:
        if start + size > len(self._data):
            raise ValueError(f"the .bin ends at byte {len(self._data)}, a constant at {start + size}")
        if (start, size) not in self._known:
            self._known[start, size] = hashlib.sha256(self._data[start : start + size]).hexdigest()
        return self._known[start, size]


def _write(parts: list[str], element: ET.Element, constants: _Constants) -> None:
    """Appends what counts of an element, and an end mark, so that no two trees give the same text."""
    tag, attributes = element.tag, element.attrib
    if tag in _UNNAMED:
        attributes = {k: v for k, v in attributes.items() if k not in _UNNAMED[tag]}
    elif tag == "data" and "offset" in attributes and "size" in attributes:
        size = int(attributes["size"])
        attributes = {k: v for k, v in attributes.items() if k != "offset"}
        attributes["sha256"] = constants.digest(int(element.attrib["offset"]), size)
    parts.append(f"<{tag} {sorted(attributes.items())}{(element.text or '').strip()}")
    for child in element:
        if child.tag == "rt_info" and tag == "net":
            for options in child.findall(_RUNTIME_OPTIONS):
                _write(parts, options, constants)
        elif not (child.tag == "attribute" and child.get("name") in _NAMES_ONLY):
            _write(parts, child, constants)
    parts.append(">")
