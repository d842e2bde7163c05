from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qnas_ov.recipe import Recipe, build_recipe, read_recipe_file

RECIPES = Path(__file__).parents[1] / "recipes"


def test_a_recipe_reads_itself_back(tmp_path: Path) -> None:
    recipe = Recipe(model="digits-vit", max_drop=0.01, objectives=("accuracy", "latency"))
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert build_recipe(read_recipe_file(tmp_path / "r.yaml")) == recipe


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert build_recipe(read_recipe_file(path)).model


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "a", "evalutions": 5}, "unknown setting in r.yaml 'evalutions': .*did you mean 'evaluations'"),
        ({"model": "a", "evaluations": "many"}, "'evaluations' in r.yaml: .*integer; got 'many'"),
        ({"model": "a", "max_drop": 1.5}, "'max_drop' in r.yaml: .*less than or equal to 1; got 1.5"),
        ({"model": "a", "seed": True}, "'seed' in r.yaml: .*integer"),
        ({"model": 3}, "'model' in r.yaml: .*string"),
        ({"seed": 1}, "must name a model"),
        ({"model": "a", "algorithm": "magic"}, "'algorithm' in r.yaml: .*'linas'"),
        ({"model": "a", "time_limit": "3 days"}, "--time-limit must read like 90s, 30m or 1.5h: got '3 days'"),
        ({"model": "a", "population": 60, "evaluations": 50}, "population must be at most evaluations: got 60 and 50"),
        ({"model": "a", "warm_from": "runs/x", "algorithm": "linas"}, "needs the algorithm qnas"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, KeyError)) as caught:
        build_recipe(settings, origin="r.yaml")
    import re

    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [1", "not valid YAML"), (b"- 1\n- 2", "must map settings to values: got list"), (b"\xff\xfe\x00", "not")],
)
def test_wrong_files_are_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_recipe_file(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"cannot read the recipe 'nowhere.yaml': No such file"):
        read_recipe_file(Path("nowhere.yaml"))
