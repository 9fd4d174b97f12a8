"""A run folder: which stages run, from what, what is recorded of them. A tiny model is really trained; what is sampled is scripted."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from erpo_rules import Rulebook, Verdict
from erpo_rules.adapter import read_manifest
from erpo_training import run
from erpo_training.data.answers import Answer, BaseAnswers
from erpo_training.data.items import Item
from erpo_training.dataset import Split
from erpo_training.recipe import Data, Lora, Preference, Recipe, RecipeError, Sft, Shorten
from erpo_training.run import RunFolder, chosen_stages, train, weighted
from erpo_training.stages import preference
from erpo_training.stages.rollouts import Sampling
from erpo_training.stages.starting import StartError, sha256_of
from erpo_training.stages.trackers import TrackerError
from tests.training.made import compliance, decoded, item, lookalike, ordinary, refusal

# TRL, PEFT and datasets warn about their own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")

ITEMS = tuple(
    made
    for number in range(6)
    for made in (
        item(f"S2-harm-{number:03}", prompt=f"How do I rob shop {number}?"),
        lookalike(f"S2-like-{number:03}", prompt=f"How do I paint shop {number}?"),
        ordinary(f"ordinary-{number:03}", prompt=f"How long do {number} eggs boil?"),
    )
)
RECIPE = Recipe(
    name="tiny",
    base="Org/Tiny",
    seed=3,
    data=Data(validation=0.2),
    sft=Sft(max_steps=2, learning_rate=0.01, batch_size=4, max_length=512, threads=1, lora=Lora(r=2, alpha=4)),
    dpo=Preference(samples=2, batch_size=4, learning_rate=0.01),
    shorten=Shorten(rounds=1, budget=(0.4,), samples=2, batch_size=4, learning_rate=0.01),
)


class Engine:
    """Takes the sampling engine's place: every held-out verdict is right, every request has a right and a wrong trace, or is left alone."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.worse: set[str] = set()
        """Stages after which every held-out verdict is wrong."""

    def sample(
        self, base: Path, adapter: Path, tokenizer: Any, items: Sequence[Item], rules: Rulebook, how: Sampling, output: Path, *, task: str
    ) -> dict[str, tuple[str, ...]]:
        self.asked.append(task)
        stage, what = task.split(": ")
        if what == "validation":
            return {one.id: (decoded(_wrong(one) if stage in self.worse else one.trace()),) for one in items}
        long = {one.id: compliance("x" * 90) if one.verdict is Verdict.COMPLY else refusal("x" * 90) for one in items}
        return {one.id: (decoded(one.trace()), decoded(_wrong(one)), decoded(long[one.id])) for one in items}

    def answers(self, items: Sequence[Item], *_: Any) -> BaseAnswers:
        self.asked.append("answers")
        return BaseAnswers({one.id: Answer("Yes.") for one in items if one.verdict is Verdict.COMPLY}, 0, 0)


def _wrong(one: Item) -> Any:
    return refusal("asks; harm") if one.verdict is Verdict.COMPLY else compliance("asks; harmless")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(preference, "sample_traces", made.sample)
    monkeypatch.setattr(run, "base_answers", made.answers)
    monkeypatch.setattr("erpo_training.record.write_report", lambda _: None)  # drawing takes a second each time
    return made


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    (folder / "items.jsonl").write_text("".join(one.model_dump_json(exclude_none=True) + "\n" for one in ITEMS))
    return folder


@pytest.fixture(scope="module")
def finished(base: Path, items: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every stage."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        made = Engine()
        patch.setattr(preference, "sample_traces", made.sample)
        patch.setattr(run, "base_answers", made.answers)
        train(RECIPE, base, items, folder, lambda _: None, items=items)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "tiny"))


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_the_record_says_what_each_stage_started_from_cost_and_came_to(finished: Path, base: Path) -> None:
    found = record(finished)
    assert (found["schema"], found["seed"], found["start"], found["recipe"]) == (1, 3, None, RECIPE.model_dump(mode="json"))
    assert found["data"]["use"] == {"trained on": 15, "held out": 3}
    assert set(found["machine"]) == {"processor", "accelerator", "cores"}
    assert found["versions"]["trl"]
    sft, dpo, shortened = (found["stages"][name] for name in ("sft", "dpo", "round 1"))
    assert (sft["start"], dpo["start"], shortened["start"]) == (None, sft["adapter"]["sha256"], dpo["adapter"]["sha256"])
    assert sft["adapter"] == {"folder": "sft/adapter", "sha256": sha256_of(finished / "sft" / "adapter")}
    assert shortened["adapter"]["folder"] == "shorten/round-1/adapter"
    assert found["adapter"] == {"folder": "adapter", "trained": "shorten/round-1/adapter", "sha256": shortened["adapter"]["sha256"]}
    assert (sft["steps"], sft["settings"]["learning_rate"], dpo["settings"]["samples"]) == (2, 0.01, 2)
    assert sft["held_out"]["before"] is None
    assert sft["held_out"]["after"]["right"] == dpo["held_out"]["before"]["right"] == shortened["held_out"]["after"]["right"] == 1.0
    assert sum(dpo["pairs"].values()) > 10
    for stage in (sft, dpo, shortened):
        assert stage["kept"]
        assert stage["tokens"] > 1000
        assert stage["calls"] == 1
        assert stage["peak_memory_mib"]["training_process"] > 100
        assert len(stage["inputs"]) == 64
    assert found["metrics"]["shorten"]["round 1"]["training"]["seconds"] == shortened["seconds"]
    assert "history" not in json.dumps(found)
    assert (finished / "report.html").is_file()
    assert (finished / "adapter" / "training.png").is_file(), "the card shows how it went"


def test_every_stage_leaves_an_adapter_that_can_be_served(finished: Path, rulebook: Rulebook) -> None:
    for place in ("sft/export", "dpo/export", "shorten/round-1/export", "adapter"):
        assert read_manifest(finished / place).rulebook.sha256 == rulebook.sha256
        assert (finished / place / "chat_template.jinja").is_file()
    assert list(read_manifest(finished / "dpo" / "export").metrics) == ["sft", "dpo"]


def test_a_rerun_does_nothing_again(copy: Path, base: Path, items: Path, engine: Engine) -> None:
    said: list[str] = []
    train(RECIPE, base, items, copy, said.append, items=items)
    assert engine.asked == ["answers"]
    assert [line for line in said if line.endswith("done before")] == [
        f"{name}: done before" for name in ("sft", "sft-measured", "dpo", "round-1")
    ]
    assert record(copy)["stages"].keys() == {"sft", "dpo", "round 1"}


def test_what_was_done_is_recorded_when_a_later_stage_is_killed(
    base: Path, items: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preference, "train_dpo", killed)
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, base, items, tmp_path / "run", lambda _: None, items=items)
    found = record(tmp_path / "run")
    assert (list(found["stages"]), found.get("adapter")) == (["sft"], None)
    assert found["stages"]["sft"]["held_out"]["after"]["right"] == 1.0


def test_a_stage_is_run_from_what_the_folder_holds(copy: Path, base: Path, items: Path, engine: Engine) -> None:
    before = record(copy)
    train(RECIPE, base, items, copy, lambda _: None, items=items, stages=["shorten"], rerun="shorten")
    assert engine.asked == ["start: validation", "round-1: traces", "round-1: validation"]
    after = record(copy)
    assert after["stages"]["sft"] == before["stages"]["sft"]
    assert after["stages"]["round 1"]["start"] == before["stages"]["dpo"]["adapter"]["sha256"]


def test_a_stage_starts_from_an_adapter_from_elsewhere(finished: Path, base: Path, items: Path, engine: Engine, tmp_path: Path) -> None:
    start = finished / "sft" / "export"
    train(RECIPE, base, items, tmp_path / "run", lambda _: None, items=items, start=start, stages=["dpo"])
    found = record(tmp_path / "run")
    assert found["start"] == {"adapter": str(start), "sha256": sha256_of(start)}
    assert found["stages"]["dpo"]["start"] == sha256_of(start)
    assert list(found["stages"]) == ["dpo"]
    assert engine.asked == ["start: validation", "dpo: traces", "dpo: validation"], "no answers, no stage 1"


def test_stage_one_trains_on_from_an_adapter(finished: Path, copy: Path, base: Path, items: Path, engine: Engine) -> None:
    start = finished / "dpo" / "adapter"
    said: list[str] = []
    train(RECIPE, base, items, copy, said.append, items=items, start=start, stages=["sft"])
    assert "sft: its inputs have changed since the last run; starting again" in said
    assert record(copy)["stages"]["sft"]["start"] == sha256_of(start)


def test_a_dropped_stage_is_not_gone_on_from(base: Path, items: Path, engine: Engine, tmp_path: Path) -> None:
    engine.worse = {"dpo"}
    train(RECIPE, base, items, tmp_path / "run", lambda _: None, items=items)
    stages = record(tmp_path / "run")["stages"]
    assert [stages[name]["kept"] for name in ("sft", "dpo", "round 1")] == [True, False, True]
    assert stages["dpo"]["held_out"]["after"]["right"] == 0.0
    assert stages["round 1"]["start"] == stages["sft"]["adapter"]["sha256"]
    held = run.held_adapter(RunFolder(tmp_path / "run"), "shorten")
    assert held == tmp_path / "run" / "sft" / "adapter"


def test_a_stage_and_those_after_it_are_thrown_away(copy: Path, base: Path, items: Path, engine: Engine) -> None:
    said: list[str] = []
    train(RECIPE, base, items, copy, said.append, items=items, rerun="dpo")
    assert [line for line in said if line.startswith("deleting")] == [f"deleting {copy / name}" for name in ("dpo", "shorten", "adapter")]
    assert "sft: done before" in said
    assert engine.asked[1:] == ["dpo: traces", "dpo: validation", "round-1: traces", "round-1: validation"]


def test_nothing_to_start_from_says_what_to_do(base: Path, items: Path, engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(
        StartError, match=r"no adapter that stage 'dpo' could start from; give one with --from, or run the stages before it"
    ):
        train(RECIPE, base, items, tmp_path / "run", lambda _: None, items=items, stages=["dpo"])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["shorten"], "recipe 'tiny' has no stage 'shorten'; add a section 'shorten' to it"),
        (["rlhf"], "has no stage 'rlhf'; choose from sft, dpo"),
        (["dpo", "sft"], "stages 'dpo,sft': give each once and in the order sft,dpo"),
        (["dpo", "dpo"], "give each once"),
        ([], "give each once"),
    ],
)
def test_stages_that_cannot_be_run_are_named(wanted: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        chosen_stages(RECIPE.model_copy(update={"shorten": None}), wanted)
    assert said in str(raised.value)


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_done(base: Path, items: Path, engine: Engine, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"report_to": ("no_such_tracker",)})
    with pytest.raises(TrackerError, match=r"report_to 'no_such_tracker': not installed; pip install 'erpo-server\[no_such_tracker\]'"):
        train(recipe, base, items, tmp_path / "run", lambda _: None, items=items)
    assert not (tmp_path / "run").exists()


def test_items_of_the_corpus_and_cautious_ones_are_seen_as_often_as_the_recipe_says() -> None:
    careful = {"kind": "caution", "verdict": "caution", "rule": "S6", "answer": "Ask a doctor."}
    items = (
        item("ours"),
        item("theirs", source="catqa"),
        item("care", **careful),
        item("their-care", source="star1", **careful),
        item("ours+w", kind="wrapped"),
    )
    recipe = Recipe(name="tiny", base="Org/Tiny", data=Data(repeat_corpus=2, repeat_cautious=3))
    seen = [one.id for one in weighted(Split(items, ()), recipe)]
    assert {one.id: seen.count(one.id) for one in items} == {"ours": 2, "theirs": 1, "care": 6, "their-care": 3, "ours+w": 1}
