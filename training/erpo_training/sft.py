"""Stage 1: supervised training on ex-ante traces and the answers that follow them (SAFER, arXiv 2504.02725v2 §3.1).

One LoRA adapter, trained by TRL on tokenised rows; only completions carry loss. A stage that was killed goes on from its last checkpoint.
Knows rows, not where they come from.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erpo_training.dataset import Row
from erpo_training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class SftResult:
    """What the stage measured."""

    steps: int
    train_loss: float
    eval_loss: float
    eval_token_accuracy: float
    tokens: int
    """Tokens of one pass over the training rows."""
    seconds: float
    """Training time of this call; less than the whole when the stage was resumed."""
    history: tuple[dict[str, float], ...]
    """Everything that the trainer logged, with `step` and `epoch`."""


def train_sft(recipe: Recipe, base: Path, train: tuple[Row, ...], validation: tuple[Row, ...], folder: Path) -> SftResult:
    """Train the adapter and save it in `folder/adapter` (float32); checkpoints go to `folder/checkpoints`."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    sft = recipe.sft
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        torch.set_num_threads(sft.threads or len(os.sched_getaffinity(0)))

    tokenizer = AutoTokenizer.from_pretrained(base)
    # On two cores float32 weights under bf16 autocast with eager attention were the fastest of what was tried, then the same with sdpa,
    # then bf16 weights; float32 products were several times slower.
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32 if on_cpu else torch.bfloat16, attn_implementation="eager" if on_cpu else "sdpa"
    )
    torch.manual_seed(recipe.seed)
    lora = LoraConfig(
        r=sft.lora.r, lora_alpha=sft.lora.alpha, lora_dropout=sft.lora.dropout, target_modules=list(sft.lora.target), task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, lora)

    steps = sft.max_steps or math.ceil(math.ceil(len(train) / sft.batch_size / sft.gradient_accumulation) * sft.epochs)
    checkpoints = folder / "checkpoints"
    config = SFTConfig(
        output_dir=str(checkpoints),
        per_device_train_batch_size=sft.batch_size,
        per_device_eval_batch_size=sft.batch_size,
        gradient_accumulation_steps=sft.gradient_accumulation,
        num_train_epochs=sft.epochs,
        max_steps=sft.max_steps or -1,
        learning_rate=sft.learning_rate,
        lr_scheduler_type=sft.scheduler,
        warmup_steps=round(steps * sft.warmup_ratio),
        weight_decay=sft.weight_decay,
        max_length=sft.max_length,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        gradient_checkpointing=sft.gradient_checkpointing,
        use_cpu=on_cpu,
        bf16=sft.dtype == "bfloat16",
        eval_strategy="epoch" if validation else "no",
        save_strategy="steps",
        save_steps=sft.save_steps,
        save_total_limit=2,
        logging_steps=10,
        report_to=list(recipe.report_to) or "none",
        seed=recipe.seed,
        dataloader_pin_memory=not on_cpu,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(list(_columns(train))),
        eval_dataset=Dataset.from_list(list(_columns(validation))) if validation else None,
        processing_class=tokenizer,
    )
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    outcome = trainer.train(resume_from_checkpoint=last)
    measured: dict[str, Any] = trainer.evaluate() if validation else {}
    trainer.model.save_pretrained(str(folder / "adapter"))
    return SftResult(
        steps=outcome.global_step,
        train_loss=outcome.training_loss,
        eval_loss=measured.get("eval_loss", math.nan),
        eval_token_accuracy=measured.get("eval_mean_token_accuracy", math.nan),
        tokens=sum(row.length for row in train),
        seconds=outcome.metrics["train_runtime"],
        history=tuple(trainer.state.log_history),
    )


def _columns(rows: Iterable[Row]) -> Iterable[dict[str, Any]]:
    return ({"input_ids": row.input_ids, "labels": row.labels, "length": row.length} for row in rows)
