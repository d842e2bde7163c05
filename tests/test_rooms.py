"""The rooms of the design: imports point downwards, and rooms of one floor know each other only where it is said."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "qnas_ov"

FLOORS = {
    "core": 0,
    "space": 1, "pareto": 1, "journal": 1, "recipe": 1,
    "families": 2, "tasks": 2, "predict": 2, "train": 2,
    "ir": 3, "measure": 3, "algorithms": 3, "deploy": 3, "report": 3,
    "pipeline": 4,
    "cli": 5, "commands": 5, "terminal": 5, "doctor": 5,
}  # fmt: skip
BESIDE = {("train", "families"), ("train", "tasks"), ("cli", "terminal"), ("cli", "doctor"), ("cli", "commands"),
          ("commands", "terminal")}  # fmt: skip
ONLY_CORE = {"measure", "deploy", "tasks", "space", "pareto", "journal", "recipe"}
OUTSIDE = {
    "torch": {"families", "train", "ir", "pipeline"}, "pymoo": {"algorithms"}, "nncf": {"ir"},
    "click": {"cli", "commands"}, "mlserver": {"deploy"},
}  # fmt: skip


def imports_of(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            found.add(node.module or "")
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    room = room_of(path)
    for module in imports_of(path):
        if module == "qnas_ov":
            assert room == "cli", f"{path.name} imports the package's face"
        if not module.startswith("qnas_ov."):
            continue
        other = module.split(".")[1]
        if other == room:
            continue
        assert (room, other) in BESIDE or FLOORS[other] < FLOORS[room], f"{path.name} of {room} imports {other}"
        if room in ONLY_CORE:
            assert other == "core", f"{room} may import core only: {path.name} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_frameworks_stay_in_their_rooms(path: Path) -> None:
    for module in imports_of(path):
        allowed = OUTSIDE.get(module.split(".")[0])
        assert allowed is None or room_of(path) in allowed, f"{path} imports {module}"


def test_every_room_has_a_floor() -> None:
    assert {room_of(p) for p in FILES} - {"py"} == set(FLOORS)


def test_files_stay_readable() -> None:
    long = {str(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
