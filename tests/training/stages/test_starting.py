"""Which adapters can be started from, and what is said of the others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from erpo_training.recipe import Lora
from erpo_training.stages.starting import CONFIG, WEIGHTS, StartError, check_start, sha256_of

# PEFT warns about its own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")

LORA = Lora(r=2, alpha=4)


def lora_folder(base: Path, folder: Path, lora: Lora = LORA) -> Path:
    """An adapter as PEFT itself saves it."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from erpo_training.stages.blueprint import lora_config

    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora_config(lora, 2)).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora_folder(base, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a wider base; weights are not looked at."""
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("other")
    LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1
    ).save_pretrained(folder)
    return folder


def changed(adapter: Path, folder: Path, **config: Any) -> Path:
    """A copy whose configuration says something else."""
    shutil.copytree(adapter, folder)
    found = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(found | config))
    return folder


def test_an_adapter_of_this_base_can_be_started_from(adapter: Path, base: Path) -> None:
    check_start(adapter, base, LORA)


def test_weights_are_told_apart(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "copy")
    assert sha256_of(tmp_path / "copy") == sha256_of(adapter)
    with (tmp_path / "copy" / WEIGHTS).open("ab") as weights:
        weights.write(b"x")
    assert sha256_of(tmp_path / "copy") != sha256_of(adapter)


def test_another_bases_adapter_is_refused_with_the_shapes(adapter: Path, other_base: Path) -> None:
    with pytest.raises(StartError, match=r"does not fit base .*lora_B.weight' has the shape \(16, 2\), this base's would have \(32, 2\)"):
        check_start(adapter, other_base, LORA)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Lora(r=4, alpha=4), "its r is 2, the recipe's 4; set 'sft.lora.r' in the recipe to match"),
        (Lora(r=2, alpha=8), "its alpha is 4, the recipe's 8"),
        (Lora(r=2, alpha=4, target=("q_proj",)), "the recipe's ['q_proj']; set 'sft.lora.target'"),
        (Lora(r=2, alpha=4, first_layer=1), "its first_layer is 0, the recipe's 1; set 'sft.lora.first_layer'"),
    ],
)
def test_an_adapter_of_which_the_recipe_would_say_what_is_not_so(adapter: Path, base: Path, recipe: Lora, said: str) -> None:
    with pytest.raises(StartError) as raised:
        check_start(adapter, base, recipe)
    assert said in str(raised.value)


def test_what_is_no_adapter_says_so(adapter: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no adapter_config.json that can be read; give a folder that erpo train or PEFT wrote"):
        check_start(tmp_path, base, LORA)
    with pytest.raises(StartError, match="describes no LoRA"):
        check_start(changed(adapter, tmp_path / "ia3", peft_type="IA3"), base, LORA)
    (changed(adapter, tmp_path / "pickled") / WEIGHTS).unlink()
    with pytest.raises(StartError, match=r"no adapter_model.safetensors that can be read"):
        check_start(tmp_path / "pickled", base, LORA)
