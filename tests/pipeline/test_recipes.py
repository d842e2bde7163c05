"""The recipes that need nothing but this package run; the others name what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from qnas_ov.families import FAMILIES, MODELS
from qnas_ov.pipeline import run_search, verify_package
from qnas_ov.pipeline._setup import resolve
from qnas_ov.recipe import build_recipe, read_recipe_file

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
DIGITS = [p for p in RECIPES if p.name.startswith("digits-")]
FEW = {
    "evaluations": 8, "population": 4, "inner_evaluations": 100, "front_size": 1, "latency_seconds": 0.02,
    "final_rounds": 1,
}  # fmt: skip


@pytest.mark.parametrize("path", DIGITS, ids=lambda p: p.name)
def test_digits_recipes_resolve(path: Path) -> None:
    setup = resolve(read_recipe_file(path), origin=str(path))
    assert setup.task.name == "digits"
    assert {o.name for o in setup.objectives} == set(read_recipe_file(path)["objectives"])


@pytest.mark.parametrize("path", DIGITS, ids=lambda p: p.name)
def test_digits_recipes_run(path: Path, tiny_model: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With few evaluations, and of a smaller network unless --full is given; nobody knows what that one loses."""
    full = request.config.getoption("--full")
    if path.stem != "digits-small" and not full:
        pytest.skip("the others take the same way: --full takes them all")
    given = {**read_recipe_file(path), **FEW, **({} if full else {"model": tiny_model})}
    if not full and "max_drop" in given:
        given["max_drop"] = 1.0
    found = run_search(given, out=tmp_path / "run", origin=str(path))
    assert len(found.front) > 0
    for name in found.front["candidate"]:
        check = verify_package(found.folder / "deploy" / name)
        assert check.repeated is not None
        assert check.repeated.value == check.repeated.recorded


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipes_name_what_there_is(path: Path) -> None:
    recipe = build_recipe(read_recipe_file(path))
    entry = MODELS.get(recipe.model)
    assert entry.family in FAMILIES
    assert recipe.dataset == entry.data.name
    assert f"recipes/{path.name}" in path.read_text()
