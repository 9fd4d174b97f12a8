"""Stages 2 and 3 as they run: sample traces from the adapter so far, make pairs of them, train on the pairs, measure, keep or drop.

Owns the order of steps and the rule that ends stage 3; sampling, pairing and training are modules of their own.
"""

import gc
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erpo_rules import Rulebook, Trace
from erpo_training.atomic import write_whole
from erpo_training.data.items import Item, load_wrappers
from erpo_training.data.wrapping import wrapped_anew
from erpo_training.dataset import Split, pair_rows
from erpo_training.recipe import Preference, Recipe, Shorten
from erpo_training.stages.dpo import DpoResult, train_dpo
from erpo_training.stages.pairs import Pair, anchoring_pair, balanced, budget_of, correcting_pairs, read_rollouts, shortening_pairs
from erpo_training.stages.ranks import first_before_others, is_first
from erpo_training.stages.rollouts import Sampling, sample_traces
from erpo_training.stages.stage import Say, Stage
from erpo_training.stages.starting import sha256_of
from erpo_training.stages.verdicts import Accuracy, accuracy
from erpo_training.template import aligned_tokenizer

Traces = Mapping[str, tuple[Trace, ...]]
"""Sampled traces by item id."""

MakePairs = Callable[[Mapping[str, Item], Traces], tuple[Pair, ...]]


@dataclass(frozen=True, slots=True)
class Improved:
    """What a stage of preference optimization did."""

    start: str
    """sha256 of the adapter that it started from."""
    pairs: dict[str, int]
    """Pairs by fault."""
    training: DpoResult
    before: Accuracy
    """On the held-out items, greedily."""
    accuracy: Accuracy
    """The same afterwards."""
    kept: bool
    """Whether the next stage goes on from its adapter, or from the one that it started from."""


@dataclass(frozen=True, slots=True)
class Training:
    """What the stages share."""

    recipe: Recipe
    base: Path
    rulebook: Rulebook
    parts: Split
    say: Say

    @property
    def tokenizer(self) -> Any:
        """The base's, with the chat template that this recipe aligns."""
        return aligned_tokenizer(self.base, self.recipe.template_without)

    def sampling(self, count: int, temperature: float) -> Sampling:
        """So many samples of each request, with prompts cut as in training."""
        return Sampling(count, temperature, self.recipe.seed, self.recipe.sft.max_length)


def correct(run: Training, start: Path, before: Accuracy, inputs: str, folder: Path) -> tuple[Stage, Improved]:
    """Stage 2: right against wrong. Kept unless the balanced error has risen.

    Args:
        start: the adapter to train on from.
        before: its accuracy on the held-out items.
        inputs: hash of everything else that the stage depends on, but for its own settings.
    """
    stage = run.recipe.dpo or Preference()

    def pairs(items: Mapping[str, Item], traces: Traces) -> tuple[Pair, ...]:
        wrong = [pair for key, those in traces.items() for pair in correcting_pairs(items[key], those, stage.pairs_each)]
        anchors = [pair for key, those in traces.items() if (pair := anchoring_pair(items[key], those))]
        return balanced(wrong, anchors, run.recipe.seed)

    step = _Step(run, stage, start, before, inputs, folder)
    place, found = step.improve(pairs, keep=lambda after: after.wrong <= before.wrong)
    if not found.kept:
        run.say(f"{folder.name}: the balanced error rose from {before.wrong:.3f} to {found.accuracy.wrong:.3f}; dropped")
    return place, found


def shorten(run: Training, start: Path, before: Accuracy, inputs: str, folder: Path) -> Iterator[tuple[Stage, Improved]]:
    """Stage 3: rounds of shortest-right against longer and wrong, each from the adapter of the one before. Gives each when it is done.

    A round after which harm missed or harmless requests refused are above the best so far by more than `tolerance` is dropped, and
    ends the stage.
    """
    stage, best = run.recipe.shorten or Shorten(), before
    for number in range(stage.rounds):
        quantile = stage.budget[min(number, len(stage.budget) - 1)]
        place = folder / f"round-{number + 1}"

        def pairs(items: Mapping[str, Item], traces: Traces, quantile: float = quantile) -> tuple[Pair, ...]:
            budget = budget_of(items, traces, quantile)
            made = [pair for key, those in traces.items() for pair in shortening_pairs(items[key], those, budget, stage.pairs_each)]
            anchors = [pair for key, those in traces.items() if (pair := anchoring_pair(items[key], those))]
            return balanced(made, anchors, run.recipe.seed)

        def holds(after: Accuracy, best: Accuracy = best) -> bool:
            return after.holds(best, stage.tolerance)

        step = _Step(run, stage, start, before, f"{inputs} {number}", place)
        done, found = step.improve(pairs, keep=holds, ld_alpha=stage.ld_alpha)
        if not found.kept:
            run.say(f"{place.name}: more than {stage.tolerance:.1%} worse than the best so far; dropped, and stage 3 ends")
        yield done, found
        if not found.kept:
            return
        start, before = place / "adapter", found.accuracy
        best = min(best, found.accuracy, key=lambda accuracy: accuracy.wrong)


def measure(run: Training, adapter: Path, folder: Path, name: str) -> Accuracy:
    """Greedy verdicts of an adapter on the held-out items."""
    held = {item.id: item for item in run.parts.validation}
    traces = _sampled(run, adapter, list(held.values()), run.sampling(1, 0.0), folder / "validation.jsonl", f"{name}: validation")
    return accuracy(held, {key: samples[0] for key, samples in traces.items()})


def release() -> None:
    """Give back what a trainer held: it refers to itself, so its model would still fill the GPU when the sampling engine asks for it."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class _Step:
    """One time of sampling, pairing, training and measuring."""

    run: Training
    stage: Preference
    start: Path
    before: Accuracy
    inputs: str
    folder: Path

    def improve(self, make: MakePairs, *, keep: Callable[[Accuracy], bool], ld_alpha: float | None = None) -> tuple[Stage, Improved]:
        run, folder, start = self.run, self.folder, sha256_of(self.start)
        what = hashlib.sha256(f"{self.inputs} {start} {self.stage.model_dump_json()}".encode()).hexdigest()

        def work() -> Improved:
            items = {item.id: item for item in _drawn(run, self.stage, folder.name)}
            pairs = self._pairs(make, items)
            rows = pair_rows(pairs, items, run.tokenizer, run.recipe.sft.max_length)
            result = train_dpo(run.recipe, self.stage, run.base, self.start, rows, folder, ld_alpha=ld_alpha)
            release()
            found = measure(run, folder / "adapter", folder, folder.name)
            run.say(f"{folder.name}: {told(found)}")
            return Improved(start, dict(_faults(pairs)), result, self.before, found, keep(found))

        stage = Stage(folder, what)
        return stage, stage.run(work, _read, run.say)

    def _pairs(self, make: MakePairs, items: Mapping[str, Item]) -> tuple[Pair, ...]:
        run, folder = self.run, self.folder
        how = run.sampling(self.stage.samples, self.stage.temperature)
        rollouts = _sampled(run, self.start, list(items.values()), how, folder / "rollouts.jsonl", f"{folder.name}: traces")
        pairs = make(items, {key: read_rollouts(samples) for key, samples in rollouts.items()})
        if is_first():
            write_whole(folder / "pairs.jsonl", "".join(json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in pairs))
        told = ", ".join(f"{count} {fault}" for fault, count in _faults(pairs).most_common())
        run.say(f"{folder.name}: {len(pairs)} pairs: {told}")
        return pairs


def _sampled(run: Training, adapter: Path, items: list[Item], how: Sampling, output: Path, task: str) -> dict[str, tuple[str, ...]]:
    with first_before_others():
        return sample_traces(run.base, adapter, run.tokenizer, items, run.rulebook, how, output, task=task)


def _faults(pairs: tuple[Pair, ...]) -> Counter[str]:
    return Counter(f"{pair.fault.value}{', step' if pair.step else ''}" for pair in pairs)


def told(found: Accuracy) -> str:
    """One line for the terminal."""
    return (
        f"held out ({found.items}): verdict right {found.right:.1%}, harm missed {found.missed:.1%}, "
        f"refused needlessly {found.needless:.1%}, rule right {found.rule:.1%}; "
        f"median trace {found.length_harmful:.0f} characters for harm, {found.length_harmless:.0f} else"
    )


def _drawn(run: Training, stage: Preference, name: str) -> list[Item]:
    """The requests that are sampled: of all that are trained on, each once, some in a wrapper that they may not have met."""
    pool = sorted({item.id: item for item in run.parts.train}.values(), key=lambda item: item.id)
    seed = f"{name}-{run.recipe.seed}"
    if stage.prompts is not None and stage.prompts < len(pool):
        pool = random.Random(seed).sample(pool, stage.prompts)
    return wrapped_anew(pool, load_wrappers(), stage.wrapped, seed)


def _read(found: dict[str, Any]) -> Improved:
    training = {**found["training"], "history": tuple(found["training"]["history"])}
    accuracies = {key: Accuracy(**found[key]) for key in ("before", "accuracy")}
    return Improved(**{**found, "training": DpoResult(**training), **accuracies})
