"""Stages 2 and 3 on a model of a few thousand weights: trains on from stage 1's adapter, goes on after a kill, and exports."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from erpo_rules import Rulebook
from erpo_rules.adapter import read_manifest
from erpo_training.data.answers import Answer
from erpo_training.dataset import PairRow, pair_rows, tokenise
from erpo_training.export import Report, export_adapter
from erpo_training.recipe import Lora, Preference, Recipe, Sft
from erpo_training.stages.dpo import DpoResult, train_dpo
from erpo_training.stages.pairs import correcting_pairs
from erpo_training.stages.sft import train_sft
from tests.training.made import compliance, item, lookalike, ordinary, refusal

# TRL, PEFT and datasets warn about their own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")

ITEMS = (item(), lookalike(), ordinary())
RECIPE = Recipe(
    name="tiny",
    base="Org/Tiny",
    sft=Sft(max_steps=3, learning_rate=0.05, batch_size=2, max_length=512, threads=1, lora=Lora(r=2, alpha=4)),
)
STAGE = Preference(epochs=20, batch_size=2, learning_rate=0.01, beta=1.0, sft_weight=0.0, save_steps=20)
STEPS = 60
UNMOVED = 1e-12
"""A learning rate that leaves the adapter where it was."""

Train = Callable[..., DpoResult]


@pytest.fixture(scope="module")
def start(base: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stage 1's adapter."""
    folder = tmp_path_factory.mktemp("sft")
    train_sft(RECIPE, base, tokenise(ITEMS, {one.id: Answer("Yes.") for one in ITEMS}, tokenizer, 512).rows, (), folder)
    return folder / "adapter"


@pytest.fixture(scope="module")
def pairs(tokenizer: Any) -> tuple[PairRow, ...]:
    """Five pairs: whole traces and steps, in both directions, of different lengths."""
    wrong = {ITEMS[0].id: compliance("asks; harmless"), ITEMS[1].id: refusal("asks; burglary"), ITEMS[2].id: compliance("asks; eggs")}
    made = [pair for one in ITEMS for pair in correcting_pairs(one, (wrong[one.id],), 2)]
    rows = pair_rows(made, {one.id: one for one in ITEMS}, tokenizer, 512)
    assert len(rows) == 5
    return rows


@pytest.fixture(scope="module")
def train(base: Path, start: Path, pairs: tuple[PairRow, ...]) -> Train:
    """Trains with `STAGE`, or what `changes` make of it."""

    def run(folder: Path, *, ld_alpha: float | None = None, rows: tuple[PairRow, ...] = pairs, **changes: Any) -> DpoResult:
        recipe = RECIPE.model_copy(update={"sft": RECIPE.sft.model_copy(update={"dtype": "float32"})})
        return train_dpo(recipe, STAGE.model_copy(update=changes), base, start, rows, folder, ld_alpha=ld_alpha)

    return run


@pytest.fixture(scope="module")
def trained(train: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[DpoResult, Path]:
    folder = tmp_path_factory.mktemp("dpo")
    return train(folder), folder


def weights(adapter: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    loaded: dict[str, Any] = load_file(adapter / "adapter_model.safetensors")
    return loaded


def distance(one: Path, other: Path) -> float:
    """The largest difference of two adapters' weights, which have the same names and shapes."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_it_learns_what_is_preferred(trained: tuple[DpoResult, Path]) -> None:
    result, _ = trained
    assert (result.steps, result.pairs) == (STEPS, 5)
    assert 0 < result.train_loss < math.log(2)
    assert result.reward_accuracy == 1.0
    assert 0 < result.reward_margin < math.inf


def test_the_adapter_before_is_trained_on_and_keeps_its_form(trained: tuple[DpoResult, Path], start: Path) -> None:
    adapter = trained[1] / "adapter"
    assert distance(start, adapter) > 1e-3
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in weights(adapter).items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in weights(start).items()
    }
    assert {file.name for file in adapter.iterdir()} == {file.name for file in start.iterdir()}


def test_the_reference_is_the_adapter_before_and_not_the_base(train: Train, tmp_path: Path, start: Path) -> None:
    assert max(float(tensor.abs().max()) for name, tensor in weights(start).items() if "lora_B" in name) > 1e-3, "stage 1 did train"
    result = train(tmp_path, learning_rate=UNMOVED)
    assert result.train_loss == pytest.approx(math.log(2), abs=1e-5)
    assert result.reward_margin == pytest.approx(0.0, abs=1e-4)
    assert distance(start, tmp_path / "adapter") < 1e-6


def test_reference_log_probabilities_are_computed_once(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import DPOTrainer

    counted: list[int] = []
    compute = DPOTrainer.compute_ref_log_probs

    def count(self: Any, model: Any, inputs: Any) -> Any:
        counted.append(len(inputs["input_ids"]) // 2)
        return compute(self, model, inputs)

    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", count)
    train(tmp_path, learning_rate=0.1, epochs=2, save_steps=4)
    assert counted == [4, 1], "every pair once, two batches at a time, for both epochs"
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-6")
    shutil.rmtree(tmp_path / "adapter")
    train(tmp_path, learning_rate=0.1, epochs=2, save_steps=4)
    assert counted == [4, 1], "nor again when a stage goes on"


@pytest.mark.parametrize("ld_alpha", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("sft_weight", [0.0, 0.2])
def test_every_loss_is_finite(train: Train, tmp_path: Path, ld_alpha: float | None, sft_weight: float) -> None:
    result = train(tmp_path, ld_alpha=ld_alpha, sft_weight=sft_weight, epochs=2)
    assert math.isfinite(result.train_loss)
    assert math.isfinite(result.reward_margin)
    assert 0 <= result.reward_accuracy <= 1


def test_the_supervised_term_is_added(train: Train, tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", learning_rate=UNMOVED, epochs=2)
    both = train(tmp_path / "both", learning_rate=UNMOVED, epochs=1, sft_weight=0.5)
    assert both.train_loss > plain.train_loss + 0.1


def test_the_longer_part_counts_as_much_as_ld_alpha_says(train: Train, tmp_path: Path) -> None:
    def likely(ld_alpha: float | None) -> float:
        result = train(tmp_path / str(ld_alpha), ld_alpha=ld_alpha, learning_rate=UNMOVED, epochs=1)
        assert result.reward_margin == pytest.approx(0.0, abs=1e-3), "the reference is weighted alike"
        return sum(line["logps/chosen"] + line["logps/rejected"] for line in result.history if "loss" in line)

    plain, whole, half, none = (likely(ld_alpha) for ld_alpha in (None, 1.0, 0.5, 0.0))
    assert whole == pytest.approx(plain, rel=1e-4)
    assert half == pytest.approx((whole + none) / 2, rel=1e-4)
    assert none > whole + 10


@pytest.mark.parametrize("last", [4, 8], ids=["in the first epoch", "in the second epoch"])
def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_been_killed(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    monkeypatch.setattr("transformers.trainer.rotate_checkpoints", lambda **_: None)  # keep every one
    one, other = tmp_path / "one", tmp_path / "other"
    how: dict[str, Any] = {"epochs": 2, "batch_size": 1, "learning_rate": 0.1, "save_steps": 4}
    result = train(one, **how)
    assert result.steps == 10
    shutil.copytree(one / "checkpoints" / f"checkpoint-{last}", other / "checkpoints" / f"checkpoint-{last}")
    resumed = train(other, **how)
    assert distance(one / "adapter", other / "adapter") == 0
    assert distance(one / "adapter", one / "checkpoints" / f"checkpoint-{last}") > 1e-3, "the last steps count"
    assert resumed.train_loss == pytest.approx(result.train_loss)
    assert (resumed.steps, resumed.tokens) == (10, result.tokens)


def test_a_kill_between_the_last_checkpoint_and_the_result_costs_no_step(
    train: Train, trained: tuple[DpoResult, Path], tmp_path: Path
) -> None:
    result, folder = trained
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    resumed = train(tmp_path)
    assert distance(folder / "adapter", tmp_path / "adapter") == 0
    assert (resumed.steps, resumed.reward_margin) == (STEPS, result.reward_margin)
    assert resumed.train_loss == pytest.approx(result.train_loss)


def test_mixed_precision_trains_too(base: Path, start: Path, pairs: tuple[PairRow, ...], tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"sft": RECIPE.sft.model_copy(update={"dtype": "bfloat16"})})
    result = train_dpo(recipe, STAGE, base, start, pairs, tmp_path, ld_alpha=0.5)
    assert math.isfinite(result.reward_margin)
    assert {str(tensor.dtype) for tensor in weights(tmp_path / "adapter").values()} == {"torch.float32"}


def test_without_pairs_the_adapter_stays_as_it_is(train: Train, tmp_path: Path, start: Path) -> None:
    result = train(tmp_path, rows=())
    assert (result.steps, result.pairs) == (0, 0)
    assert distance(start, tmp_path / "adapter") == 0


def test_the_adapter_exports_like_that_of_stage_one(
    base: Path, rulebook: Rulebook, trained: tuple[DpoResult, Path], start: Path, tmp_path: Path
) -> None:
    counts = {"source": {"erpo-corpus": 3}, "kind": {"harmful": 1}, "verdict": {"refuse": 1}}
    for name, adapter in (("one", start), ("two", trained[1] / "adapter")):
        export_adapter(RECIPE, rulebook, base, adapter, Report({}, counts), tmp_path / name)
    assert weights(tmp_path / "one").keys() == weights(tmp_path / "two").keys()
    assert (tmp_path / "one" / "adapter_config.json").read_text() == (tmp_path / "two" / "adapter_config.json").read_text()
    assert read_manifest(tmp_path / "two").rulebook.sha256 == rulebook.sha256
