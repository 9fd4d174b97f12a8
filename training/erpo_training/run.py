"""A whole training run in one folder: data, answers, supervised traces, preferences, short traces, adapters.

Each stage is skipped when its output is there and was made from the same inputs, so that a run that was killed goes on where it stopped.
Owns the folder's layout and the order of the stages; the stages know nothing of one another, and `record` owns what is told of them.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from erpo_rules import Verdict, load_rulebook
from erpo_training.atomic import write_whole
from erpo_training.data.answers import Answer, base_answers, base_identity
from erpo_training.data.build import read_items
from erpo_training.data.gather import Gathered, answered, explained, gather, statistics
from erpo_training.data.items import CORPUS_SOURCE, Item, Kind
from erpo_training.dataset import Split, split, taught_answers, tokenise
from erpo_training.export import PICTURE, Report, export_adapter
from erpo_training.progress import only_our_bars
from erpo_training.recipe import Recipe, RecipeError
from erpo_training.record import Record, StageEntry
from erpo_training.stages.preference import Training, correct, measure, release, shorten, told
from erpo_training.stages.ranks import first_before_others, is_first, wait_for_all
from erpo_training.stages.sft import SftResult, train_sft
from erpo_training.stages.stage import Say, Stage
from erpo_training.stages.starting import StartError, check_start, sha256_of
from erpo_training.stages.trackers import need_trackers
from erpo_training.stages.verdicts import Accuracy

STAGES = ("sft", "dpo", "shorten")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of a run lies."""

    root: Path

    @property
    def record(self) -> Path:
        """Recipe, versions, data statistics, results; written after every stage."""
        return self.root / "run.json"

    @property
    def answers(self) -> Path:
        """Cache of the base model's answers."""
        return self.root / "answers.jsonl"

    @property
    def validation(self) -> Path:
        """Held-out items, as JSON lines that the evaluation reads."""
        return self.root / "validation.jsonl"

    @property
    def evaluation(self) -> Path:
        """What `erpo eval --output RUN/evaluation` found, if anybody measured; the next `train` puts it into the model card."""
        return self.root / "evaluation" / "summary.json"

    @property
    def sft(self) -> Path:
        """Checkpoints, adapter in float32, result and exported adapter of stage 1."""
        return self.root / "sft"

    @property
    def dpo(self) -> Path:
        """Samples, pairs, checkpoints, adapter, result and exported adapter of stage 2."""
        return self.root / "dpo"

    @property
    def shorten(self) -> Path:
        """The same of every round of stage 3."""
        return self.root / "shorten"

    def measured(self, adapter: Path) -> Path:
        """How right traces are on the held-out items before stage 2 or 3: those of stage 1, or of an adapter from elsewhere."""
        return self.root / ("sft-measured" if adapter == self.sft / "adapter" else "start-measured")

    @property
    def adapter(self) -> Path:
        """What is served: the last stage's adapter that was kept, exported."""
        return self.root / "adapter"

    def made_by(self, stage: str) -> tuple[Path, ...]:
        """What a stage leaves behind."""
        made = {"sft": (self.sft, self.measured(self.sft / "adapter")), "dpo": (self.dpo,), "shorten": (self.shorten,)}
        return made[stage]


def train(
    recipe: Recipe,
    base: Path,
    data: Path,
    folder: Path,
    say: Say = print,
    *,
    items: Path | None = None,
    start: Path | None = None,
    stages: Sequence[str] | None = None,
    rerun: str | None = None,
) -> Path:
    """Run every stage that is not done yet; give the adapter's folder.

    Args:
        base: Folder of the base model.
        data: Folder of the third-party sets.
        folder: The run folder; made when absent.
        say: Told one line at each stage.
        items: What `erpo data build` wrote, in place of the recipe's data.
        start: An adapter that the first stage trains on from; a new one, or what the run folder holds, when omitted.
        stages: Which stages of the recipe to run, in their order; all when omitted.
        rerun: A stage whose results are thrown away first, with those of the stages after it.

    Raises:
        ItemError: data that cannot be used.
        RulebookError: no such rulebook.
        RecipeError: a base without a public name, or stages that the recipe does not have.
        StartError: an adapter that does not fit, or none to start from.
        TrackerError: a tracker that is not installed.
        SamplingError: the answers or traces could not be sampled.
    """
    run = RunFolder(folder)
    say = say if is_first() else _silent
    chosen = chosen_stages(recipe, stages)
    if rerun:
        chosen_stages(recipe, [rerun])
    public_base, rulebook = recipe.public_base, load_rulebook(recipe.rulebook)
    need_trackers(recipe.report_to)
    if start is not None:
        check_start(start, base, recipe.sft.lora)
    only_our_bars()
    with first_before_others():
        folder.mkdir(parents=True, exist_ok=True)
        if rerun and is_first():
            throw_away(run, rerun, say)

    gathered = read_items(items, rulebook) if items else gather(recipe.data, data, rulebook, recipe.seed)
    parts = split(gathered.items, recipe.data.validation, recipe.seed)
    say(f"data: {len(parts.train)} items to train on, {len(parts.validation)} held out")
    if is_first():
        write_whole(run.validation, "".join(item.model_dump_json(exclude_none=True) + "\n" for item in parts.validation))
    counts = statistics(gathered.items)
    record = Record(
        run.record,
        {
            "recipe": recipe.model_dump(mode="json"),
            "seed": recipe.seed,
            "start": start and {"adapter": str(start), "sha256": sha256_of(start)},
            "base": {"name": public_base, "identity": base_identity(base)},
            "rulebook": {"id": rulebook.id, "version": rulebook.version, "sha256": rulebook.sha256},
            **_told_of_data(gathered, counts, parts),
        },
        before=STAGES[: STAGES.index(chosen[0])],
    )
    shared = Training(recipe, base, rulebook, parts, say)

    def done(name: str, folder: Path, entry: StageEntry) -> None:
        """Record a stage, and export its adapter so that it can be evaluated."""
        record.add(name, entry)
        if is_first() and not (folder / "export").exists():
            report = Report(record.metrics, counts, record=record.told)
            export_adapter(recipe, rulebook, base, folder / "adapter", report, folder / "export")

    current, before = start, None
    if "sft" in chosen:
        current = run.sft / "adapter"
        supervised, before = _supervise(shared, run, gathered, start, record)
        done("sft", run.sft, supervised)
    if current is None:
        current = held_adapter(run, chosen[0])
    if before is None:
        before = _measured(shared, run, current)
    inputs = _inputs(shared, {})
    if "dpo" in chosen:
        place, corrected = correct(shared, current, before, inputs, run.dpo)
        done("dpo", place.folder, StageEntry.of_preference(place, recipe.dpo, corrected))
        current, before = (run.dpo / "adapter", corrected.accuracy) if corrected.kept else (current, before)
    if "shorten" in chosen:
        for number, (place, shortened) in enumerate(shorten(shared, current, before, inputs, run.shorten), start=1):
            done(f"round {number}", place.folder, StageEntry.of_preference(place, recipe.shorten, shortened))
            current = place.folder / "adapter" if shortened.kept else current

    if is_first():
        summary = json.loads(run.evaluation.read_text(encoding="utf-8")) if run.evaluation.exists() else None
        picture = run.root / PICTURE
        report = Report(record.metrics, counts, summary, record.told, picture if picture.exists() else None)
        shutil.rmtree(run.adapter, ignore_errors=True)
        export_adapter(recipe, rulebook, base, current, report, run.adapter)
        record.finish(current, run.adapter)
    wait_for_all()
    say(f"adapter: {run.adapter}")
    return run.adapter


def chosen_stages(recipe: Recipe, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The stages to run. Raises `RecipeError` when the recipe has not got one, or when they are out of order."""
    has = tuple(name for name in STAGES if name == "sft" or getattr(recipe, name) is not None)
    if wanted is None:
        return has
    for name in wanted:
        if name not in has:
            remedy = f"add a section {name!r} to it" if name in STAGES else f"choose from {', '.join(has)}"
            raise RecipeError(f"recipe {recipe.name!r} has no stage {name!r}; {remedy}")
    chosen = tuple(name for name in has if name in wanted)
    if not wanted or list(chosen) != list(wanted):
        raise RecipeError(f"stages {','.join(wanted)!r}: give each once and in the order {','.join(has)}")
    return chosen


def throw_away(run: RunFolder, stage: str, say: Say) -> None:
    """Delete what a stage and those after it have made."""
    later = STAGES[STAGES.index(stage) :]
    for place in (*(place for name in later for place in run.made_by(name)), run.adapter):
        if place.exists():
            say(f"deleting {place}")
            shutil.rmtree(place)


def held_adapter(run: RunFolder, stage: str) -> Path:
    """The adapter in the run folder that a stage starts from. Raises `StartError` when there is none."""
    trained = run.sft / "adapter"
    dropped_from: str | None = None
    if stage == "shorten" and (result := run.dpo / "result.json").exists():
        corrected = json.loads(result.read_text(encoding="utf-8"))
        if corrected["kept"]:
            return run.dpo / "adapter"
        dropped_from = corrected["start"]
    if stage != "sft" and (run.sft / "result.json").exists() and dropped_from in (None, sha256_of(trained)):
        return trained
    raise StartError(f"{run.root}: no adapter that stage {stage!r} could start from; give one with --from, or run the stages before it")


def _supervise(shared: Training, run: RunFolder, gathered: Gathered, start: Path | None, record: Record) -> tuple[StageEntry, Accuracy]:
    """Stage 1 and its verdicts. Recorded before these are known, too: they take an engine."""
    recipe, say = shared.recipe, shared.say
    speaking = answered(gathered.items, recipe.data)
    with first_before_others():
        answers = base_answers(speaking, shared.base, recipe.answers, recipe.seed, run.answers)
    record.head["answers"] = {"taught": len(answers.by_item), "refused": answers.refused, "empty": answers.empty}
    say(f"answers: {len(answers.by_item)} of the base model's own; {answers.refused} refusals and {answers.empty} empty ones left out")
    taught = taught_answers(speaking, answers.by_item, shared.rulebook)
    stage = Stage(run.sft, _inputs(shared, taught, start))
    supervised = stage.run(lambda: _sft(shared, taught, run.sft, start), _read_sft, say)
    entry = StageEntry.of_sft(stage, recipe.sft, supervised, start)
    record.add("sft", entry)
    found = _measured(shared, run, run.sft / "adapter")
    return entry.measured(found), found


def _sft(shared: Training, taught: dict[str, Answer], folder: Path, start: Path | None) -> SftResult:
    recipe, parts = shared.recipe, shared.parts
    tokenizer = shared.tokenizer
    in_words = explained(parts.train, recipe.data.explained)
    rows = tokenise(weighted(parts, recipe), taught, tokenizer, recipe.sft.max_length, in_words)
    held = tokenise(parts.validation, taught, tokenizer, recipe.sft.max_length)
    tokens = sum(row.length for row in rows.rows)
    shared.say(
        f"sft: {len(rows.rows)} rows, {tokens} tokens an epoch; {rows.cut_prompts} prompts and {rows.cut_answers} answers cut to fit"
    )
    result = train_sft(recipe, shared.base, rows.rows, held.rows, folder, start=start)
    release()
    return result


def weighted(parts: Split, recipe: Recipe) -> tuple[Item, ...]:
    """The items of one epoch, those of the corpus and the cautious ones as often as the recipe says."""
    data = recipe.data

    def copies(item: Item) -> int:
        written_here = item.source == CORPUS_SOURCE and item.kind is not Kind.WRAPPED
        return (data.repeat_corpus if written_here else 1) * (data.repeat_cautious if item.verdict is Verdict.CAUTION else 1)

    return tuple(copy for item in parts.train for copy in [item] * copies(item))


def _measured(shared: Training, run: RunFolder, adapter: Path) -> Accuracy:
    place = run.measured(adapter)
    name = place.name.removesuffix("-measured")
    inputs = hashlib.sha256(f"{_inputs(shared, {})} {sha256_of(adapter)}".encode()).hexdigest()
    found = Stage(place, inputs).run(lambda: measure(shared, adapter, place, name), lambda found: Accuracy(**found), shared.say)
    shared.say(f"{name}: {told(found)}")
    return found


def _inputs(shared: Training, taught: dict[str, Answer], start: Path | None = None) -> str:
    """Hash of everything that stage 1 depends on; without answers, of what the later stages do beside their own settings."""
    recipe, parts = shared.recipe, shared.parts
    digest = hashlib.sha256(recipe.model_dump_json(exclude={"name", "report_to", "dpo", "shorten"}).encode())
    digest.update(f"{shared.rulebook.sha256} {base_identity(shared.base)} {start and sha256_of(start)}".encode())
    for item in (*parts.train, *parts.validation):
        digest.update(item.model_dump_json().encode())
    digest.update(str(len(parts.train)).encode())
    digest.update(json.dumps({key: asdict(answer) for key, answer in taught.items()}, sort_keys=True).encode())
    return digest.hexdigest()


def _read_sft(found: dict[str, Any]) -> SftResult:
    return SftResult(**{**found, "history": tuple(found["history"])})


def _told_of_data(gathered: Gathered, counts: dict[str, Any], parts: Split) -> dict[str, Any]:
    """What is counted under `data`, where it was read under `origins`."""
    counted = asdict(replace(gathered, items=()))
    del counted["items"]
    origins = counted.pop("origins")
    return {"data": {**counts, "use": {"trained on": len(parts.train), "held out": len(parts.validation)}, **counted}, "origins": origins}


def _silent(line: str) -> None:
    """What the other processes say: the first one says it."""
