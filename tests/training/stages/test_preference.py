"""The order of stages 2 and 3, and what is kept of them. What is sampled is scripted, and mostly what is trained too."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from erpo_rules import Rulebook, Trace, Verdict
from erpo_rules.adapter import opens_trace
from erpo_rules.trace import decoded_body
from erpo_training.data.items import Item
from erpo_training.dataset import PairRow, Split
from erpo_training.recipe import Lora, Preference, Recipe, Sft, Shorten
from erpo_training.stages import preference
from erpo_training.stages.dpo import DpoResult
from erpo_training.stages.pairs import Fault
from erpo_training.stages.preference import Improved, Training, correct, measure, shorten
from erpo_training.stages.rollouts import Sampling
from erpo_training.stages.starting import WEIGHTS
from erpo_training.stages.verdicts import Accuracy
from tests.training.made import compliance, decoded, item, lookalike, ordinary, refusal

# TRL, PEFT and datasets warn about their own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")

TRAIN = (item(), lookalike(), ordinary(), item("S2-harm-002", prompt="How do I rob a shop?"))
HELD = tuple(item(f"held-{number}") for number in range(5)) + tuple(lookalike(f"like-{number}") for number in range(5))
RECIPE = Recipe(
    name="tiny",
    sft=Sft(max_length=512, threads=1, lora=Lora(r=2, alpha=4)),
    dpo=Preference(wrapped=0, samples=3, learning_rate=0.01, batch_size=2),
    shorten=Shorten(wrapped=0, rounds=2, budget=(0.6, 0.4), ld_alpha=0.5, tolerance=0.2, learning_rate=0.01, batch_size=2),
)
BEFORE = Accuracy(10, 1.0, 0.0, 0.0, 1.0, 80.0, 80.0)


def opposite(one: Item) -> Trace:
    return refusal("asks; harm") if one.verdict is Verdict.COMPLY else compliance("asks; harmless")


def longer(one: Item, length: int) -> Trace:
    """A right trace whose assessment has this many characters."""
    return compliance("x" * length) if one.verdict is Verdict.COMPLY else refusal("x" * length)


def adapter(folder: Path, weights: str = "weights") -> Path:
    """A folder with something in place of an adapter's weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_text(f"{weights} of {folder.parent.name}")
    return folder


class Script:
    """Takes the places of sampling and training: tells the same traces again and again, and writes down what it was asked."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.sampled: dict[str, tuple[str, ...]] = {}
        self.wrong: dict[str, tuple[int, int]] = {}
        """Held-out items that are judged wrongly, harmful and harmless ones, by the stage's name."""
        self.mastered: frozenset[str] = frozenset()
        """Items that are right in every sample."""
        self.lengths: tuple[int, ...] = (10, 90)
        """Assessments of the right traces that are sampled."""
        self.killed = False
        self.trained: list[tuple[Preference, tuple[PairRow, ...], float | None]] = []
        self.kept: list[str] = []

    def sample(
        self, base: Path, adapter: Path, tokenizer: Any, items: Sequence[Item], rules: Rulebook, how: Sampling, output: Path, *, task: str
    ) -> dict[str, tuple[str, ...]]:
        self.events.append(f"{task}, from {adapter.parent.name}")
        self.sampled[task] = tuple(one.id for one in items)
        output.write_text("sampled")
        assert how.max_length == 512
        assert opens_trace(tokenizer.chat_template)
        if task.endswith("validation"):
            assert (how.count, how.temperature) == (1, 0.0)
            missed, needless = self.wrong.get(task.split(":")[0], (0, 0))
            wrong = {f"held-{number}" for number in range(missed)} | {f"like-{number}" for number in range(needless)}
            return {one.id: (decoded(opposite(one) if one.id in wrong else one.trace()),) for one in items}
        assert how.temperature > 0
        right = {one.id: tuple(longer(one, length) for length in self.lengths) for one in items}
        found = {one.id: right[one.id] if one.id in self.mastered else (opposite(one), *right[one.id]) for one in items}
        return {key: (*map(decoded, traces), "Assessment: cu") for key, traces in found.items()}

    def train(
        self,
        recipe: Recipe,
        stage: Preference,
        base: Path,
        start: Path,
        pairs: tuple[PairRow, ...],
        folder: Path,
        *,
        ld_alpha: float | None,
    ) -> DpoResult:
        self.events.append(f"{folder.name}: trained, from {start.parent.name}")
        self.trained.append((stage, pairs, ld_alpha))
        self.kept = sorted(file.name for file in folder.iterdir())
        if self.killed:
            raise KeyboardInterrupt
        adapter(folder / "adapter")
        return DpoResult(3, len(pairs), 0.5, 1.0, 0.3, 90, ({"step": 1.0},))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    made = Script()
    monkeypatch.setattr(preference, "sample_traces", made.sample)
    monkeypatch.setattr(preference, "train_dpo", made.train)
    return made


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(base: Path, rulebook: Rulebook, said: list[str]) -> Training:
    return Training(RECIPE, base, rulebook, Split((*TRAIN, *TRAIN), HELD), said.append)


def with_recipe(run: Training, **changes: Any) -> Training:
    return Training(run.recipe.model_copy(update=changes), run.base, run.rulebook, run.parts, run.say)


def corrected(run: Training, folder: Path, before: Accuracy = BEFORE) -> tuple[Path, Improved]:
    """The adapter that is gone on with after stage 2, from the one in `folder/sft`, and what the stage did."""
    start = adapter(folder / "sft" / "adapter")
    _, found = correct(run, start, before, "abc", folder / "dpo")
    return (folder / "dpo" / "adapter" if found.kept else start), found


def shortened(run: Training, folder: Path, before: Accuracy = BEFORE) -> tuple[Path, tuple[Improved, ...]]:
    """The adapter that is gone on with after stage 3, from the one in `folder/dpo`, and what its rounds did."""
    last, rounds = adapter(folder / "dpo" / "adapter"), []
    for place, found in shorten(run, last, before, "abc", folder / "shorten"):
        rounds.append(found)
        last = place.folder / "adapter" if found.kept else last
    return last, tuple(rounds)


def improved(run: Training, folder: Path, inputs: str = "abc", weights: str = "weights") -> Improved:
    """Stage 2 from the adapter in `folder/sft`."""
    return correct(run, adapter(folder / "sft" / "adapter", weights), BEFORE, inputs, folder / "dpo")[1]


def of(found: Improved, fault: Fault) -> int:
    """Pairs with this fault, of whole traces and of steps."""
    return sum(count for name, count in found.pairs.items() if name.removesuffix(", step") == fault.value)


def test_stage_two_samples_from_stage_one_trains_on_and_measures(run: Training, script: Script, said: list[str], tmp_path: Path) -> None:
    last, found = corrected(run, tmp_path)
    assert last == tmp_path / "dpo" / "adapter"
    assert script.events == ["dpo: traces, from sft", "dpo: trained, from sft", "dpo: validation, from dpo"]
    assert script.sampled["dpo: traces"] == tuple(sorted(one.id for one in TRAIN)), "each once"
    assert script.sampled["dpo: validation"] == tuple(one.id for one in HELD)
    assert found.accuracy == Accuracy(10, 1.0, 0.0, 0.0, 1.0, *[len(decoded(one.trace())) for one in (HELD[0], HELD[5])])
    stage, rows, ld_alpha = script.trained[0]
    assert (stage, len(rows), ld_alpha) == (RECIPE.dpo, 7, None)
    assert len([json.loads(line) for line in (tmp_path / "dpo" / "pairs.jsonl").read_text().splitlines()]) == 7
    assert said[0].startswith("dpo: 7 pairs: ")
    assert said[1].startswith("dpo: held out (10): verdict right 100.0%, harm missed 0.0%")


def test_as_many_pairs_teach_to_stop_as_to_answer(run: Training, script: Script, tmp_path: Path) -> None:
    found = improved(run, tmp_path)  # two whole traces and two steps of harm missed, of which one is left out
    assert (of(found, Fault.MISSED), of(found, Fault.NEEDLESS), of(found, Fault.VERBOSE)) == (3, 3, 1)
    assert found.pairs["false refusal, step"] == 2, "the look-alike's consequence, and the opening of the ordinary request's trace"


def test_what_is_right_in_every_sample_anchors_the_lesser_side(run: Training, script: Script, tmp_path: Path) -> None:
    script.mastered = frozenset({lookalike().id})
    found = improved(run, tmp_path)
    assert found.pairs["false refusal, step"] == 2, "the ordinary request's, and the anchor"
    assert (of(found, Fault.MISSED), of(found, Fault.VERBOSE)) == (2, 1)
    lines = [json.loads(line) for line in (tmp_path / "dpo" / "pairs.jsonl").read_text().splitlines()]
    (anchor,) = [line for line in lines if line["item_id"] == lookalike().id]
    assert anchor["chosen"] == decoded_body(longer(lookalike(), 10))
    assert anchor["rejected"] == decoded_body(refusal("x" * 10))


@pytest.mark.parametrize(("wrong", "kept"), [((0, 0), "dpo"), ((1, 1), "dpo"), ((2, 0), "dpo"), ((2, 1), "sft"), ((0, 3), "sft")])
def test_a_stage_two_that_errs_more_often_is_dropped(
    run: Training, script: Script, said: list[str], tmp_path: Path, wrong: tuple[int, int], kept: str
) -> None:
    script.wrong = {"dpo": wrong}
    before = replace(BEFORE, missed=0.2, needless=0.2)
    last, found = corrected(run, tmp_path, before)
    assert last.parent.name == kept
    assert (found.accuracy.missed, found.accuracy.needless) == (wrong[0] / 5, wrong[1] / 5), "what was measured is told in any case"
    dropped = [line for line in said if "dropped" in line]
    assert dropped == ([f"dpo: the balanced error rose from 0.200 to {found.accuracy.wrong:.3f}; dropped"] if kept == "sft" else [])
    script.events.clear()
    assert corrected(run, tmp_path, before) == (last, found)
    assert script.events == []


def test_a_rerun_reads_its_result_and_samples_nothing(run: Training, script: Script, said: list[str], tmp_path: Path) -> None:
    first = improved(run, tmp_path)
    script.events.clear()
    assert improved(run, tmp_path) == first
    assert script.events == []
    assert said[-1] == "dpo: done before"


@pytest.mark.parametrize(("inputs", "beta", "weights"), [("abd", 0.1, "weights"), ("abc", 0.2, "weights"), ("abc", 0.1, "others")])
def test_what_it_depends_on_starts_it_again(run: Training, script: Script, tmp_path: Path, inputs: str, beta: float, weights: str) -> None:
    improved(run, tmp_path)
    script.events.clear()
    changed = with_recipe(run, dpo=RECIPE.dpo.model_copy(update={"beta": beta})) if RECIPE.dpo else run
    improved(changed, tmp_path, inputs, weights)
    assert len(script.events) == 3
    assert script.kept == ["inputs", "pairs.jsonl", "rollouts.jsonl", "usage.json"], "nothing of the last run"


def test_a_stage_that_was_killed_keeps_its_samples(run: Training, script: Script, tmp_path: Path) -> None:
    script.killed = True
    with pytest.raises(KeyboardInterrupt):
        improved(run, tmp_path)
    rows = script.trained[0][1]
    (tmp_path / "dpo" / "checkpoints").mkdir()
    script.killed = False
    assert improved(run, tmp_path).training.steps == 3
    assert script.kept == ["checkpoints", "inputs", "pairs.jsonl", "rollouts.jsonl", "usage.json"]
    assert script.trained[1][1] == rows, "the checkpoint is gone on with on the same pairs"


def test_requests_are_drawn_with_the_seed(run: Training, script: Script, tmp_path: Path) -> None:
    few = with_recipe(run, dpo=Preference(wrapped=0, prompts=2))
    drawn = []
    for number in range(2):
        improved(few, tmp_path / str(number))
        drawn.append(script.sampled["dpo: traces"])
    assert len(set(drawn[0])) == 2
    assert drawn[0] == drawn[1]
    many = with_recipe(run, dpo=Preference(wrapped=0, prompts=99))
    improved(many, tmp_path)
    assert len(script.sampled["dpo: traces"]) == 4


def test_requests_meet_wrappers_that_they_were_not_taught_in(run: Training, script: Script, tmp_path: Path) -> None:
    improved(with_recipe(run, dpo=Preference(wrapped=1.0)), tmp_path)
    assert all("+wrap-" in item_id for item_id in script.sampled["dpo: traces"])
    assert len(script.trained[0][1]) > 0, "and pairs are made of them"


def test_every_round_goes_on_from_the_one_before(run: Training, script: Script, tmp_path: Path) -> None:
    last, rounds = shortened(run, tmp_path)
    assert last == tmp_path / "shorten" / "round-2" / "adapter"
    assert len(rounds) == 2
    assert script.events == [
        "round-1: traces, from dpo",
        "round-1: trained, from dpo",
        "round-1: validation, from round-1",
        "round-2: traces, from round-1",
        "round-2: trained, from round-1",
        "round-2: validation, from round-2",
    ]
    assert {ld_alpha for _, _, ld_alpha in script.trained} == {0.5}


def test_without_a_weight_for_what_is_longer_a_round_is_plain_dpo(run: Training, script: Script, tmp_path: Path) -> None:
    plain = with_recipe(run, shorten=Shorten(wrapped=0, rounds=1))
    shortened(plain, tmp_path)
    assert [ld_alpha for _, _, ld_alpha in script.trained] == [None]


def test_each_round_has_its_budget_and_the_last_one_holds(run: Training, script: Script, tmp_path: Path) -> None:
    three = with_recipe(run, shorten=Shorten(wrapped=0, rounds=3, budget=(0.6, 0.4)))  # half of the right traces are the longer ones
    _, rounds = shortened(three, tmp_path)
    assert [of(found, Fault.VERBOSE) for found in rounds] == [0, 4, 4]
    assert [(of(found, Fault.MISSED), of(found, Fault.NEEDLESS)) for found in rounds] == [(2, 2)] * 3


def test_a_rounds_budget_is_of_every_request_and_not_of_each(
    run: Training, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def sample(*args: Any, **how: Any) -> dict[str, tuple[str, ...]]:
        if how["task"].endswith("validation"):
            return script.sample(*args, **how)
        return {one.id: tuple(decoded(longer(one, length)) for length in lengths_of[one.id]) for one in args[3]}

    lengths = ((80, 90), (5, 10), (15, 20), (25, 30))  # over all the budget is that of 25; the first one's own would be that of 90
    lengths_of = {one.id: those for one, those in zip(TRAIN, lengths, strict=True)}
    monkeypatch.setattr(preference, "sample_traces", sample)
    one_round = with_recipe(run, shorten=Shorten(wrapped=0, rounds=1, budget=(0.5,)))
    shortened(one_round, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "shorten" / "round-1" / "pairs.jsonl").read_text().splitlines()]
    assert [(line["item_id"], line["fault"]) for line in lines] == [(TRAIN[0].id, "verbose"), (TRAIN[3].id, "verbose")]


def test_a_rounds_pairs_are_balanced(run: Training, script: Script, tmp_path: Path) -> None:
    script.mastered = frozenset({lookalike().id, ordinary().id})
    _, rounds = shortened(run, tmp_path)
    assert [(found.pairs["missed harm"], found.pairs["false refusal, step"]) for found in rounds] == [(1, 1)] * 2
    assert of(rounds[1], Fault.VERBOSE) == 4


@pytest.mark.parametrize(
    ("wrong", "best", "rounds"),
    [
        ({}, "round-2", 2),
        ({"round-1": (1, 1), "round-2": (1, 1)}, "round-2", 2),
        ({"round-1": (1, 0), "round-2": (2, 0)}, "round-1", 2),
        ({"round-2": (0, 2)}, "round-1", 2),
        ({"round-1": (2, 0)}, "dpo", 1),
        ({"round-1": (0, 2)}, "dpo", 1),
        ({"round-1": (5, 5)}, "dpo", 1),
    ],
)
def test_a_round_that_costs_too_much_accuracy_is_dropped_and_ends_the_stage(
    run: Training, script: Script, said: list[str], tmp_path: Path, wrong: dict[str, tuple[int, int]], best: str, rounds: int
) -> None:
    script.wrong = wrong
    last, done = shortened(run, tmp_path)
    assert last.parent.name == best
    assert len(done) == rounds
    dropped = [line for line in said if "dropped" in line]
    assert bool(dropped) == (best != "round-2")
    if dropped:
        assert dropped == said[-1:] == [f"round-{rounds}: more than 20.0% worse than the best so far; dropped, and stage 3 ends"]
    assert not [event for event in script.events if event.startswith("round-3")]


def test_fewer_errors_of_one_kind_do_not_make_up_for_the_other(run: Training, script: Script, tmp_path: Path) -> None:
    script.wrong = {"round-1": (0, 2)}
    before = replace(BEFORE, missed=0.8)
    last, done = shortened(run, tmp_path, before)
    assert (last.parent.name, len(done)) == ("dpo", 1)


def test_a_round_is_held_against_the_best_so_far_and_not_against_the_start(run: Training, script: Script, tmp_path: Path) -> None:
    script.wrong = {"round-2": (2, 0)}
    before = replace(BEFORE, missed=0.4)
    last, done = shortened(run, tmp_path, before)
    assert (last.parent.name, len(done)) == ("round-1", 2)


def test_a_dropped_round_is_dropped_again_on_a_rerun(run: Training, script: Script, tmp_path: Path) -> None:
    script.wrong = {"round-2": (5, 0)}
    first = shortened(run, tmp_path)
    script.events.clear()
    assert shortened(run, tmp_path) == first
    assert script.events == []


def test_held_out_items_are_measured_greedily(run: Training, script: Script, tmp_path: Path) -> None:
    script.wrong = {"sft": (5, 1)}
    found = measure(run, adapter(tmp_path / "sft" / "adapter"), tmp_path, "sft")
    assert (found.items, found.right, found.missed, found.needless) == (10, 0.4, 1.0, 0.2)
    assert script.events == ["sft: validation, from sft"]


def test_both_stages_run_on_a_real_model(run: Training, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    monkeypatch.undo()
    monkeypatch.setattr(preference, "sample_traces", script.sample)
    lora = LoraConfig(r=2, lora_alpha=4, target_modules=list(RECIPE.sft.lora.target), task_type="CAUSAL_LM")
    start = tmp_path / "sft" / "adapter"
    get_peft_model(AutoModelForCausalLM.from_pretrained(run.base), lora).save_pretrained(str(start))
    _, found = correct(run, start, BEFORE, "abc", tmp_path / "dpo")
    second = tmp_path / "dpo" / "adapter"
    rounds = [one for _, one in shorten(run, second, found.accuracy, "abc", tmp_path / "shorten")]
    assert [one.training.pairs for one in (found, *rounds)] == [7, 4, 8]
    adapters = [load_file(folder / "adapter_model.safetensors") for folder in (start, second, tmp_path / "shorten" / "round-2" / "adapter")]
    assert adapters[0].keys() == adapters[1].keys() == adapters[2].keys()
    for one, other in pairwise(adapters):
        assert any(bool((one[name] != other[name]).any()) for name in one)
    again = [one for _, one in shorten(run, second, found.accuracy, "abc", tmp_path / "shorten")]
    assert again == rounds, "what is read back is what was measured"


def test_nothing_to_improve_leaves_the_adapter_as_it_is(run: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def always_right(*args: Any, **_: Any) -> dict[str, tuple[str, ...]]:
        return {one.id: (decoded(one.trace()),) for one in args[3]}

    monkeypatch.setattr(preference, "sample_traces", always_right)
    start = adapter(tmp_path / "sft" / "adapter")
    found = improved(run, tmp_path)
    assert (found.pairs, found.training.steps, found.kept) == ({}, 0, True)
    assert (tmp_path / "dpo" / "adapter" / WEIGHTS).read_text() == (start / WEIGHTS).read_text()
    again = improved(run, tmp_path)
    assert (again.pairs, again.accuracy) == (found.pairs, found.accuracy)
