"""Stage 1: supervised training on ex-ante traces and the answers that follow them (SAFER, arXiv 2504.02725v2 §3.1).

One LoRA adapter, trained by TRL on tokenised rows; only completions carry loss. A stage that was killed goes on from its last checkpoint.
Knows rows, not where they come from.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from erpo_training.dataset import Row
from erpo_training.machine import in_bfloat16
from erpo_training.recipe import Recipe
from erpo_training.stages.blueprint import lora_config
from erpo_training.stages.checkpoints import last_checkpoint
from erpo_training.stages.lm_head import cut_for_cpu
from erpo_training.stages.trackers import end_tracking
from erpo_training.stages.weighing import WEIGHTS, Weighing, collated, weighed


@dataclass(frozen=True, slots=True)
class SftResult:
    """What the stage measured."""

    steps: int
    train_loss: float
    """Mean over every step, those before a kill included."""
    eval_loss: float
    eval_token_accuracy: float
    tokens: int
    """Tokens trained on, prompts included, over all epochs."""
    history: tuple[dict[str, float], ...]
    """Everything that the trainer logged, with `step` and `epoch`."""


def train_sft(
    recipe: Recipe, base: Path, train: tuple[Row, ...], validation: tuple[Row, ...], folder: Path, *, start: Path | None = None
) -> SftResult:
    """Train the adapter and save it in `folder/adapter` (float32); checkpoints go to `folder/checkpoints`.

    Args:
        start: an adapter to train on from; a new one when omitted.
    """
    import torch
    from peft import PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.integrations import is_deepspeed_zero3_enabled

    from erpo_training.stages.trainer_progress import shown

    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        torch.set_num_threads(recipe.sft.threads or len(os.sched_getaffinity(0)))
        cut_for_cpu()
    config = sft_config(recipe, folder, validated=bool(validation))  # before the model: DeepSpeed shards it while it is loaded

    tokenizer = AutoTokenizer.from_pretrained(base)
    # On two cores, float32 weights under bf16 autocast. Eager attention is a little faster there, and takes three gigabytes more.
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32 if on_cpu else torch.bfloat16, attn_implementation="sdpa")
    torch.manual_seed(recipe.seed)
    whole = not is_deepspeed_zero3_enabled()  # which gathers parameters of one type alone, so there the adapter is bf16 like the base
    if start is None:
        adapted = get_peft_model(model, lora_config(recipe.sft.lora, model.config.num_hidden_layers), autocast_adapter_dtype=whole)
    else:
        adapted = PeftModel.from_pretrained(model, start, is_trainable=True, autocast_adapter_dtype=whole)
    trainer = sft_trainer(adapted, config, train, validation, tokenizer, deciding_weight=recipe.sft.deciding_weight)
    with shown(trainer, "sft"):
        outcome = trainer.train(resume_from_checkpoint=last_checkpoint(folder / "checkpoints"))
    measured: dict[str, Any] = trainer.evaluate() if validation else {}
    trainer.save_model(str(folder / "adapter"))
    end_tracking(recipe.report_to)
    history: tuple[dict[str, float], ...] = tuple(trainer.state.log_history)
    return SftResult(
        steps=outcome.global_step,
        train_loss=fmean(line["loss"] for line in history if "loss" in line),
        eval_loss=measured.get("eval_loss", math.nan),
        eval_token_accuracy=measured.get("eval_mean_token_accuracy", math.nan),
        tokens=int(trainer.state.num_input_tokens_seen),
        history=history,
    )


def sft_config(recipe: Recipe, folder: Path, *, validated: bool) -> Any:
    """The recipe's stage 1 as TRL takes it."""
    import torch
    from trl import SFTConfig

    sft, on_cpu = recipe.sft, not torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        run_name=f"{recipe.name}-sft",
        per_device_train_batch_size=sft.batch_size,
        per_device_eval_batch_size=sft.batch_size,
        gradient_accumulation_steps=sft.gradient_accumulation,
        num_train_epochs=sft.epochs,
        max_steps=sft.max_steps or -1,
        learning_rate=sft.learning_rate,
        lr_scheduler_type=sft.scheduler,
        warmup_steps=sft.warmup_ratio,  # below 1 it is a share
        weight_decay=sft.weight_decay,
        max_length=sft.max_length,
        gradient_checkpointing=sft.gradient_checkpointing,
        use_cpu=on_cpu,
        bf16=in_bfloat16(sft.dtype),
        eval_strategy="epoch" if validated else "no",
        save_strategy="steps",
        save_steps=sft.save_steps,
        save_total_limit=2,
        logging_steps=1,  # checkpoints keep the log, so that the loss of the whole stage is known after a kill
        include_num_input_tokens_seen="non_padding",
        disable_tqdm=True,
        report_to=list(recipe.report_to) or "none",
        seed=recipe.seed,
        dataloader_pin_memory=not on_cpu,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def sft_trainer(
    model: Any, config: Any, train: Iterable[Row], validation: Iterable[Row], tokenizer: Any, *, deciding_weight: float = 1.0
) -> Any:
    """TRL's trainer over tokenised rows; a token that decides weighs `deciding_weight` times one of wording."""
    from datasets import Dataset
    from trl import SFTTrainer

    from erpo_training.stages.batches import EpochOrder, order_of

    class Trainer(SFTTrainer):  # type: ignore[misc]
        """Takes the rows of an epoch in the same order whether or not it was killed before, and every token at its weight."""

        def _get_train_sampler(self, *_: Any) -> EpochOrder:
            return order_of(self)

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            kept: list[str] = self._signature_columns
            self._signature_columns: list[str] = [*kept, *({WEIGHTS} - {*kept})]

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            with weighed(self.model, inputs.pop(WEIGHTS)):
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    train = tuple(train)
    weighing = Weighing.over(train, deciding_weight)
    held = sorted(validation, key=lambda row: row.length)  # so that little is padded
    trainer = Trainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([_columns(row, weighing) for row in train]),
        eval_dataset=Dataset.from_list([_columns(row, weighing) for row in held]) if held else None,
        processing_class=tokenizer,
    )
    trainer.data_collator = partial(collated, trainer.data_collator)
    return trainer


def _columns(row: Row, weighing: Weighing) -> dict[str, Any]:
    return {"input_ids": row.input_ids, "labels": row.labels, "length": row.length, "twins": row.twins, WEIGHTS: weighing.of(row)}
