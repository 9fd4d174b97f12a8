"""A run without its weights: everything that can be built is built, and what it would take is counted.

Owns what is looked at and how it is told. Training is built by the stages' own functions, on torch's meta device.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from erpo_rules import RulebookError, load_rulebook
from erpo_training.base import BaseError
from erpo_training.data.build import read_items
from erpo_training.data.gather import Gathered, answered, gather
from erpo_training.data.items import ItemError
from erpo_training.dataset import PairRow, Split, split, taught_answers, tokenise
from erpo_training.progress import only_our_bars
from erpo_training.recipe import Preference, Recipe
from erpo_training.stages.blueprint import blueprint
from erpo_training.stages.dpo import dpo_config, dpo_trainer, pair_columns
from erpo_training.stages.memory import GIB, Shape, disk_bytes, merging_bytes, training_bytes
from erpo_training.stages.sft import sft_config, sft_trainer
from erpo_training.stages.trackers import TrackerError, need_trackers
from erpo_training.template import aligned_tokenizer


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of what was found; `holds` is false where the run would fail."""

    what: str
    said: str
    holds: bool = True


def dry_run(recipe: Recipe, base: Path | None, data: Path, *, items: Path | None = None) -> tuple[Finding, ...]:
    """Look at everything that a run would need. What is missing is a finding, and what does not depend on it is looked at all the same.

    Args:
        base: folder of the base model, which needs no weights; the recipe's base, of which only small files are downloaded, when omitted.
        data: folder of the third-party sets.
        items: what `erpo data build` wrote, in place of the recipe's data.

    Raises:
        RecipeError: a base without a public name.
    """
    only_our_bars()
    return tuple(_Look(recipe, recipe.public_base, data, items).findings(base))


@dataclass(frozen=True, slots=True)
class _Look:
    recipe: Recipe
    public_base: str
    data: Path
    items: Path | None

    def findings(self, base: Path | None) -> Iterator[Finding]:
        recipe = self.recipe
        yield Finding("recipe", f"{recipe.name}, seed {recipe.seed}, for {self.public_base}")
        try:
            need_trackers(recipe.report_to)
        except TrackerError as error:
            yield Finding("trackers", str(error), holds=False)
        gathered: Gathered | None = None
        try:
            rulebook = load_rulebook(recipe.rulebook)
            gathered = read_items(self.items, rulebook) if self.items else gather(recipe.data, self.data, rulebook, recipe.seed)
        except (RulebookError, ItemError) as error:
            yield Finding("data", str(error), holds=False)
        else:
            parts = split(gathered.items, recipe.data.validation, recipe.seed)
            yield Finding("data", f"{len(parts.train):,} items to train on, {len(parts.validation):,} held out")
        try:
            folder = base or _small_files(recipe.base)
            model = blueprint(folder, recipe.sft.lora)
        except (BaseError, OSError, ValueError) as error:
            yield Finding("base", " ".join(str(error).split())[:300], holds=False)
            return
        shape = _shape(model)
        yield Finding(
            "base",
            f"{model.config.model_type}: {shape.parameters - shape.trained:,} parameters in {shape.layers} layers of {shape.hidden}, "
            f"vocabulary {model.config.vocab_size:,}",
        )
        lora = recipe.sft.lora
        share = shape.trained / (shape.parameters - shape.trained)
        yield Finding("adapter", f"LoRA of rank {lora.r} on {', '.join(lora.target)}: {shape.trained:,} trained parameters ({share:.2%})")
        try:
            tokenizer = _tokenizer(folder, self.recipe.template_without)
        except (BaseError, OSError, ValueError) as error:
            yield Finding("tokenizer", " ".join(str(error).split())[:300], holds=False)
            return
        yield Finding("tokenizer", f"{len(tokenizer):,} tokens, with a chat template")
        if gathered is not None:
            try:
                with TemporaryDirectory(prefix="erpo-dry-run-") as place:  # trainers make their folders at once
                    yield from self._stages(folder, gathered, parts, tokenizer, model, Path(place))
            except ItemError as error:
                yield Finding("rows", str(error), holds=False)
        yield from self._cost(shape)

    def _stages(self, folder: Path, gathered: Gathered, parts: Split, tokenizer: Any, model: Any, place: Path) -> Iterator[Finding]:
        import torch
        from datasets import Dataset

        from erpo_training.run import weighted

        recipe, sft = self.recipe, self.recipe.sft
        speaking = answered(gathered.items, recipe.data)
        taught = taught_answers(speaking, {}, load_rulebook(recipe.rulebook))
        sampled = {item.id for item in speaking} - taught.keys()
        rows = tokenise(weighted(parts, recipe), taught, tokenizer, sft.max_length).rows
        held = tokenise(parts.validation, taught, tokenizer, sft.max_length).rows
        tokens = sum(min(sft.max_length, row.length + recipe.answers.max_tokens * (row.item_id in sampled)) for row in rows)
        _unplaced(config := sft_config(recipe, place / "sft", validated=bool(held)))
        sft_trainer(model, config, rows, held, tokenizer, deciding_weight=sft.deciding_weight)
        steps = sft.max_steps or math.ceil(_steps(len(rows), sft.batch_size, sft.gradient_accumulation) * sft.epochs)
        yield Finding("answers", f"{len(sampled):,} sampled from the base, of at most {recipe.answers.max_tokens} tokens")
        yield Finding("sft", f"{len(rows):,} rows, at most {tokens:,} tokens an epoch, {steps:,} steps; trainer built")
        pool = len({item.id for item in parts.train})
        rounds = [(f"round {number + 1}", recipe.shorten) for number in range(recipe.shorten.rounds)] if recipe.shorten else []
        for name, stage in [("dpo", recipe.dpo), *rounds]:
            if stage is not None:
                _unplaced(config := dpo_config(recipe, stage, place / name, ld_alpha=getattr(stage, "ld_alpha", None)))
                config.precompute_ref_log_probs = False  # which takes weights
                pair = PairRow(rows[0].input_ids, [0], [1])
                with torch.device("meta"):  # the reference adapter, which the trainer adds, has no weights either
                    dpo_trainer(blueprint(folder, sft.lora), config, Dataset.from_list(list(pair_columns([pair]))), tokenizer, name)
                yield Finding(name, _preferences(stage, pool))

    def _cost(self, shape: Shape) -> Iterator[Finding]:
        import torch

        recipe, sft = self.recipe, self.recipe.sft
        # Whether this machine has a GPU says nothing of the one that the recipe is for.
        on_cpu = recipe.base == "embedded" and not torch.cuda.is_available()
        pairs = [stage.batch_size for stage in (recipe.dpo, recipe.shorten) if stage]
        for name, sequences in [("sft", sft.batch_size), *([("preferences", 2 * max(pairs))] if pairs else [])]:
            needed = training_bytes(shape, sequences, sft.max_length, checkpointing=sft.gradient_checkpointing, on_cpu=on_cpu)
            yield Finding(f"memory, {name}", f"about {sum(needed.values()) / GIB:.1f} GiB a process: {_gib(needed)}")
        yield Finding("memory, host", f"about {merging_bytes(shape) / GIB:.1f} GiB while an adapter is merged for sampling")
        stages = 1 + bool(recipe.dpo) + (recipe.shorten.rounds if recipe.shorten else 0)
        yield Finding("disk", f"about {_gib(disk_bytes(shape, stages))}")


def _small_files(base: str) -> Path:
    """Configuration and tokenizer of a base model: its folder, or a snapshot of the hub without weights. Raises `BaseError`."""
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base, allow_patterns=["*.json", "*.jinja", "tokenizer*"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise BaseError(
            f"base {base!r}: neither a folder nor a model that the hub gives ({str(error).splitlines()[0]}); "
            "give a folder with its config.json and tokenizer with --base"
        ) from error


def _tokenizer(folder: Path, without: str | None) -> Any:
    from transformers import AutoTokenizer

    if not AutoTokenizer.from_pretrained(folder, local_files_only=True).chat_template:
        raise BaseError(f"{folder}: a tokenizer without a chat template; give an instruction-tuned base")
    return aligned_tokenizer(folder, without)


def _shape(model: Any) -> Shape:
    config = model.config
    trained, parameters = model.get_nb_trainable_parameters()
    return Shape(parameters, trained, config.num_hidden_layers, config.hidden_size, config.num_attention_heads)


def _unplaced(config: Any) -> None:
    """Let a trainer leave its model where it is: weights that are not there cannot be moved to a device."""
    kind = type(config)
    config.__class__ = type(kind.__name__, (kind,), {"place_model_on_device": property(lambda _: False)})


def _preferences(stage: Preference, pool: int) -> str:
    prompts = min(stage.prompts or pool, pool)
    pairs = 2 * stage.pairs_each * prompts
    steps = math.ceil(_steps(pairs, stage.batch_size, stage.gradient_accumulation) * stage.epochs)
    return f"{prompts:,} requests, {prompts * stage.samples:,} traces; at most {pairs:,} pairs in {steps:,} steps; trainer built"


def _steps(rows: int, batch: int, accumulation: int) -> int:
    return math.ceil(math.ceil(rows / batch) / accumulation)


def _gib(parts: dict[str, int]) -> str:
    return ", ".join(f"{size / GIB:.1f} {name}" for name, size in parts.items())
