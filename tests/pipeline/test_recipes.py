"""The recipes that need nothing but this package resolve to what a search works on."""

from __future__ import annotations

from pathlib import Path

import pytest

from qnas_ov.families import FAMILIES, MODELS
from qnas_ov.pipeline._setup import resolve
from qnas_ov.recipe import build_recipe, read_recipe_file

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", [p for p in RECIPES if p.name.startswith("digits-")], ids=lambda p: p.name)
def test_digits_recipes_resolve(path: Path) -> None:
    setup = resolve(read_recipe_file(path), origin=str(path))
    assert setup.task.name == "digits"
    assert {o.name for o in setup.objectives} == set(read_recipe_file(path)["objectives"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipes_name_what_there_is(path: Path) -> None:
    recipe = build_recipe(read_recipe_file(path))
    if recipe.model not in MODELS:
        assert recipe.model == "checkpoints/beit3-base", "a folder that docs/families.md describes"
        return
    entry = MODELS.get(recipe.model)
    assert entry.family in FAMILIES
    assert recipe.dataset == entry.data.name
    assert f"recipes/{path.name}" in path.read_text()
