"""Recipes: what is shipped parses, and what is wrong is named."""

from pathlib import Path

import pytest

from erpo_training.recipe import EMBEDDED_NAME, Recipe, RecipeError, load_recipe, parse_recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_parses_and_is_named_after_its_file(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_shipped_recipes_are_these() -> None:
    assert set(shipped_recipes()) >= {"smoke", "smollm2-135m"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"name": "x", "sft": {"lora": {"rank": 8}}},
            "recipe 'r.yaml': unknown key 'sft.lora.rank' (got 8); remove it or correct its spelling",
        ),
        ({}, "recipe 'r.yaml': key 'name' is missing"),
        ({"name": "x", "sft": {"epochs": -1}}, "key 'sft.epochs': Input should be greater than 0 (got -1)"),
        ({"name": "x", "data": {"sets": [{"name": "enron"}]}}, "no set 'enron'; known: ailuminate"),
        ({"name": "../x"}, "key 'name'"),
        (None, "recipe 'r.yaml': key 'recipe'"),
    ],
)
def test_a_fault_is_named(data: object, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        parse_recipe(data, origin="r.yaml")
    assert said in str(raised.value)


def test_a_file_that_is_not_there_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"No such file or directory; give a YAML file or one of .*smoke"):
        load_recipe(tmp_path / "none.yaml")


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("a: [")
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe(tmp_path / "r.yaml")


def test_the_base_has_a_public_name(tmp_path: Path) -> None:
    assert Recipe(name="x").public_base == EMBEDDED_NAME
    assert Recipe(name="x", base="Org/Model").public_base == "Org/Model"
    assert Recipe(name="x", base=str(tmp_path), base_name="Org/Model").public_base == "Org/Model"
    with pytest.raises(RecipeError, match="base_name"):
        _ = Recipe(name="x", base=str(tmp_path)).public_base
