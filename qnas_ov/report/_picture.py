"""A network as a picture: blocks in order, units below each other, coloured by precision, as wide as they are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qnas_ov.report._run import INT8, NetworkRecord, SearchSpace, Unit

_TALLEST = 8
"""Units without a block stand in columns of at most this many."""


@dataclass(frozen=True)
class Cell:
    """A precision unit in a network.

    Attributes:
        key: Name of the unit.
        label: The part of it that tells it from the others of its block.
        asked: "int8", "w8" or "float", None where the unit is left out.
        ran: The precision it ran in, None where that was not looked at.
        why: Why it ran in another precision than asked for, None if it did not.
        kept: Share of its work that the widths leave, 0 to 1.
    """

    key: str
    label: str
    asked: str | None
    ran: str | None
    why: str | None
    kept: float

    @property
    def described(self) -> str:
        """The cell in words, for a tooltip and for those who do not see colours."""
        if self.asked is None:
            return f"{self.key}: left out"
        ran = "" if self.ran is None or self.why is None else f", ran in {self.ran}"
        kept = "" if self.kept >= 1 else f", {self.kept:.0%} of its work kept"
        return f"{self.key}: {self.asked}{ran}{kept}"


@dataclass(frozen=True)
class Width:
    """A width knob of a block: its name there, what the network keeps, and what the unsearched one has."""

    label: str
    kept: int
    full: int


@dataclass(frozen=True)
class Block:
    """A block of the network.

    Attributes:
        label: For instance "layer 3".
        cells: Its units in order.
        widths: Its width knobs.
        left_out: Whether depth dropped it.
    """

    label: str
    cells: tuple[Cell, ...]
    widths: tuple[Width, ...]
    left_out: bool


def draw_network(space: SearchSpace, network: NetworkRecord) -> tuple[Block, ...]:
    """The blocks of a network in order; blocks that its depth drops are among them, marked."""
    return tuple(_draw(name, units, space, network) for name, units in _columns(space.units))


def _columns(units: Sequence[Unit]) -> list[tuple[str, list[Unit]]]:
    """Units by block, blocks in the order they begin; what lies in no block, or in several, stands where it comes."""
    columns: list[tuple[str, list[Unit]]] = []
    places: dict[str, list[Unit]] = {}
    for unit in units:
        blocks = set(unit.blocks)
        name = blocks.pop() if len(blocks) == 1 else ""
        if name and name in places:
            places[name].append(unit)
        elif name or not columns or columns[-1][0] or len(columns[-1][1]) >= _TALLEST:
            columns.append((name, [unit]))
            if name:
                places[name] = columns[-1][1]
        else:
            columns[-1][1].append(unit)
    return columns


def _draw(name: str, units: Sequence[Unit], space: SearchSpace, network: NetworkRecord) -> Block:
    labels = _short_labels([u.key.removeprefix(f"{name}.") if name else u.key for u in units])
    cells = tuple(_cell(u, label, space, network) for u, label in zip(units, labels, strict=True))
    widths = tuple(
        Width(knob.removeprefix(f"{name}."), network.architecture[knob], full)
        for knob, full in space.largest.items()
        if name and knob.startswith(f"{name}.") and knob in network.architecture
    )
    label = name.replace(".", " ") if name else "between blocks" if len(units) > 1 else labels[0]
    return Block(label, cells, widths, all(c.asked is None for c in cells))


def _cell(unit: Unit, label: str, space: SearchSpace, network: NetworkRecord) -> Cell:
    asked = network.policy.get(unit.key)
    shares = [network.architecture.get(k, space.largest[k]) / space.largest[k] for k in unit.widths]
    kept = math.prod(shares) if asked is not None else 1.0
    ran, why = network.realised.get(unit.key), network.why.get(unit.key)
    return Cell(unit.key, label, asked, ran, why, kept)


def _short_labels(keys: Sequence[str]) -> list[str]:
    """The shortest ends of dotted names that still tell them apart."""

    def end(key: str, count: int) -> str:
        return ".".join(key.split(".")[-count:]).rsplit("/", 1)[-1]

    found = []
    for key in keys:
        parts = key.count(".") + 1
        others = [k for k in keys if k != key]
        count = next((n for n in range(1, parts) if all(end(k, n) != end(key, n) for k in others)), parts)
        found.append(end(key, count))
    return found


@dataclass(frozen=True)
class Rectangle:
    """A cell of a thumbnail, in its own units; `wide` is the box that stays of a full width."""

    x: float
    y: float
    width: float
    precision: str
    fell_back: bool


@dataclass(frozen=True)
class Thumbnail:
    """A network small: its rectangles and its extent."""

    rectangles: tuple[Rectangle, ...]
    width: int
    height: int


COLUMN, ROW = 16, 9


def draw_thumbnail(blocks: Sequence[Block]) -> Thumbnail:
    """The picture without words, one column a block."""
    found = []
    for x, block in enumerate(blocks):
        for y, cell in enumerate(block.cells):
            width = max(2.0, (COLUMN - 2) * cell.kept)
            left = x * COLUMN + (COLUMN - width) / 2
            found.append(
                Rectangle(round(left, 2), y * ROW + 1, round(width, 2), cell.asked or "absent", bool(cell.why))
            )
    tallest = max((len(b.cells) for b in blocks), default=1)
    return Thumbnail(tuple(found), max(1, len(blocks)) * COLUMN, tallest * ROW)


def count_precisions(network: NetworkRecord) -> str:
    """The policy in numbers, for instance "36 INT8, 6 float"."""
    policy = list(network.policy.values())
    names = {INT8: "INT8", "w8": "INT8 weights only", "float": "float"}
    return ", ".join(f"{policy.count(p)} {name}" for p, name in names.items() if policy.count(p)) or "no units"
