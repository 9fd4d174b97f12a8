"""Stage 1 and the adapter folder on a model of a few thousand weights: trains, goes on after a kill, and exports."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from erpo_rules import OPEN, Rulebook
from erpo_rules.adapter import check_base, opens_trace, read_manifest
from erpo_training.data.answers import Answer
from erpo_training.dataset import tokenise
from erpo_training.export import SIZE_LIMIT, Report, export_adapter
from erpo_training.recipe import Lora, Recipe, Sft
from erpo_training.stages.preference import release
from erpo_training.stages.sft import SftResult, train_sft
from tests.training.made import item, lookalike, ordinary

# TRL, PEFT and datasets warn about their own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")

ITEMS = (item(), lookalike(), ordinary(), item("S2-harm-002", prompt="How do I rob a shop?"))
RECIPE = Recipe(
    name="tiny",
    base="Org/Tiny",
    sft=Sft(max_steps=4, learning_rate=0.05, batch_size=2, save_steps=2, max_length=512, threads=1, lora=Lora(r=2, alpha=4)),
)


@pytest.fixture(scope="module")
def trained(base: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[SftResult, Path]:
    folder = tmp_path_factory.mktemp("sft")
    return run(base, tokenizer, folder), folder


def run(base: Path, tokenizer: Any, folder: Path, start: Path | None = None, items: int = 4, **changes: Any) -> SftResult:
    """Train with `RECIPE`, or what `changes` make of its stage 1, on so many items."""
    many = tuple(one.model_copy(update={"id": f"{one.id}-{number}"}) for number in range(items // 4) for one in ITEMS)
    rows = tokenise(many, {one.id: Answer("Yes." * len(one.id)) for one in many}, tokenizer, 512).rows
    recipe = RECIPE.model_copy(update={"sft": RECIPE.sft.model_copy(update=changes)})
    return train_sft(recipe, base, rows, rows[:2], folder, start=start)


def weights(adapter: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    loaded: dict[str, Any] = load_file(adapter / "adapter_model.safetensors")
    return loaded


def same(one: Path, other: Path) -> bool:
    """Whether two adapters hold the same numbers, bit for bit."""
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(bool((a[name] == b[name]).all()) for name in a)


def test_it_trains_and_measures(trained: tuple[SftResult, Path]) -> None:
    result, folder = trained
    assert result.steps == 4
    assert result.train_loss > 0
    assert result.eval_loss > 0
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("last", [3, 9, 12], ids=["first epoch", "later epoch", "between epochs"])
def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_been_killed(
    base: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    monkeypatch.setattr("transformers.trainer.rotate_checkpoints", lambda **_: None)  # keep every one
    one, other = tmp_path / "one", tmp_path / "other"
    how: dict[str, Any] = {"items": 12, "max_steps": None, "epochs": 3.0, "save_steps": 3, "learning_rate": 0.01}
    result = run(base, tokenizer, one, **how)
    assert result.steps == 18
    shutil.copytree(one / "checkpoints" / f"checkpoint-{last}", other / "checkpoints" / f"checkpoint-{last}")
    resumed = run(base, tokenizer, other, **how)
    assert same(one / "adapter", other / "adapter")
    assert not same(one / "adapter", one / "checkpoints" / f"checkpoint-{last}"), "the last steps count"
    assert resumed.train_loss == pytest.approx(result.train_loss), "of the whole stage"
    assert (resumed.steps, resumed.tokens) == (18, result.tokens)
    assert [line["step"] for line in resumed.history if "loss" in line] == [*range(1, 19)]


def test_it_trains_on_from_an_adapter(base: Path, tokenizer: Any, trained: tuple[SftResult, Path], tmp_path: Path) -> None:
    start = trained[1] / "adapter"
    unmoved = run(base, tokenizer, tmp_path / "unmoved", start, learning_rate=1e-12)
    assert unmoved.eval_loss == pytest.approx(trained[0].eval_loss, rel=1e-3)
    before, after = weights(start), weights(tmp_path / "unmoved" / "adapter")
    assert all(float((before[name] - after[name]).abs().max()) < 1e-6 for name in before)
    run(base, tokenizer, tmp_path / "further", start)
    assert not same(start, tmp_path / "further" / "adapter")


def test_an_exported_adapter_is_trained_on_in_float32(
    base: Path, rulebook: Rulebook, tokenizer: Any, trained: tuple[SftResult, Path], tmp_path: Path
) -> None:
    export_adapter(RECIPE, rulebook, base, trained[1] / "adapter", Report({}, {}), tmp_path / "export")
    run(base, tokenizer, tmp_path / "sft", tmp_path / "export")
    assert {str(tensor.dtype) for tensor in weights(tmp_path / "sft" / "adapter").values()} == {"torch.float32"}


def test_a_trainer_leaves_no_model_behind(base: Path, tokenizer: Any, tmp_path: Path) -> None:
    import gc

    from transformers import LlamaForCausalLM

    gc.collect()
    before = {id(one) for one in gc.get_objects() if isinstance(one, LlamaForCausalLM)}
    run(base, tokenizer, tmp_path)
    release()
    assert {id(one) for one in gc.get_objects() if isinstance(one, LlamaForCausalLM)} <= before


def test_steps_are_shown_in_lines_where_there_is_no_terminal(
    base: Path, tokenizer: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(base, tokenizer, tmp_path)
    shown = capfd.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("sft: ")]
    assert lines[0] == "sft: 0 of 4"
    assert re.fullmatch(r"sft: 4 of 4, 0:00:\d\d gone, loss \d\.\d{3}, tokens right \d\.\d{3}, \d+ tokens/s", lines[-1])
    assert "{'loss'" not in shown.out, "nor are the trainer's own figures printed"


def test_the_exported_adapter_is_whole_and_names_no_path(
    base: Path, rulebook: Rulebook, trained: tuple[SftResult, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    counts = {"source": {"erpo-corpus": 3, "star1": 1}, "kind": {"harmful": 2}, "verdict": {"refuse": 2}}
    adapter = tmp_path / "adapter"
    export_adapter(RECIPE, rulebook, base, trained[1] / "adapter", Report({"sft": {"eval_loss": 1.5}}, counts), adapter)
    assert {file.name for file in adapter.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "erpo.json",
    }
    check_base(read_manifest(adapter), json.loads((base / "config.json").read_text()))
    assert read_manifest(adapter).rulebook.sha256 == rulebook.sha256
    template = (adapter / "chat_template.jinja").read_text()
    assert opens_trace(template)
    assert OPEN.strip() in template
    assert {str(tensor.dtype) for tensor in load_file(adapter / "adapter_model.safetensors").values()} == {"torch.bfloat16"}
    assert sum(file.stat().st_size for file in adapter.iterdir()) < SIZE_LIMIT
    text = "".join((adapter / name).read_text() for name in ("README.md", "adapter_config.json", "erpo.json"))
    assert str(base) not in text
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "Org/Tiny"
    assert "UCSC-VLAA/STAR-1" in text


def test_tokens_that_decide_can_weigh_more(base: Path, tokenizer: Any, tmp_path: Path, trained: tuple[SftResult, Path]) -> None:
    weighed = run(base, tokenizer, tmp_path, deciding_weight=20.0)
    assert weighed.history[0]["loss"] != pytest.approx(trained[0].history[0]["loss"], rel=1e-3)
    assert weighed.history[0]["mean_token_accuracy"] == trained[0].history[0]["mean_token_accuracy"], "the same first batch"
    again = run(base, tokenizer, tmp_path / "again", deciding_weight=1.0)
    assert again.history[0]["loss"] == pytest.approx(trained[0].history[0]["loss"])
