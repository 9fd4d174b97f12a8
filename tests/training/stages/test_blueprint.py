"""The adapter's shape, without a weight."""

from pathlib import Path

import pytest

from erpo_training.recipe import Lora, RecipeError
from erpo_training.stages.blueprint import blueprint

# PEFT warns about its own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")


def adapted_layers(base: Path, lora: Lora) -> set[str]:
    model = blueprint(base, lora)
    return {name.split(".layers.")[1].split(".")[0] for name, weight in model.named_parameters() if weight.requires_grad}


def test_the_layers_below_the_first_stay_as_they_are(base: Path) -> None:
    assert adapted_layers(base, Lora(r=2)) == {"0", "1"}
    assert adapted_layers(base, Lora(r=2, first_layer=1)) == {"1"}


def test_a_first_layer_that_the_base_has_not_got_is_an_error(base: Path) -> None:
    with pytest.raises(RecipeError, match=r"2 layers; 'sft\.lora\.first_layer' is 2"):
        blueprint(base, Lora(r=2, first_layer=2))
