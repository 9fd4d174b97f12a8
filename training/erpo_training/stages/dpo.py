"""Stages 2 and 3: direct preference optimization on pairs of traces (Rafailov et al., arXiv 2305.18290), by TRL.

Trains the adapter of the stage before, against that adapter as the reference, whose log-probabilities are computed once. A small supervised
term on the preferred trace keeps it likely. In stage 3 `ld_alpha` (LD-DPO, arXiv 2409.06411) weighs the part of a trace that is longer than
its rival. Knows token ids, not what a pair is about. A stage that was killed goes on from its last checkpoint.
"""

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from erpo_training.dataset import PairRow
from erpo_training.machine import in_bfloat16
from erpo_training.progress import Advance, progress, without_tqdm
from erpo_training.recipe import Preference, Recipe
from erpo_training.stages.checkpoints import last_checkpoint
from erpo_training.stages.lm_head import cut_for_cpu
from erpo_training.stages.ranks import first_before_others, is_first, wait_for_all
from erpo_training.stages.trackers import end_tracking


@dataclass(frozen=True, slots=True)
class DpoResult:
    """What the stage measured."""

    steps: int
    pairs: int
    train_loss: float
    """Mean over every step, those before a kill included."""
    reward_accuracy: float
    """Share of pairs, over the last quarter of the steps, whose preferred trace has the higher implicit reward."""
    reward_margin: float
    """How much higher, over the same steps."""
    tokens: int
    """Tokens trained on: both traces of every pair with their prompts, over all epochs."""
    history: tuple[dict[str, float], ...]


def train_dpo(
    recipe: Recipe, stage: Preference, base: Path, start: Path, pairs: tuple[PairRow, ...], folder: Path, *, ld_alpha: float | None
) -> DpoResult:
    """Train on from the adapter in `start` and save it in `folder/adapter` (float32); checkpoints go to `folder/checkpoints`.

    Without pairs nothing is left to learn: the adapter stays as it is.
    """
    if not pairs:
        if is_first():
            shutil.copytree(start, folder / "adapter", dirs_exist_ok=True)
        wait_for_all()
        return DpoResult(0, 0, math.nan, math.nan, math.nan, 0, ())

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.integrations import is_deepspeed_zero3_enabled

    from erpo_training.stages.trainer_progress import shown

    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        torch.set_num_threads(recipe.sft.threads or len(os.sched_getaffinity(0)))
        cut_for_cpu()
    config = dpo_config(recipe, stage, folder, ld_alpha=ld_alpha)  # before the model, as in stage 1
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(recipe.seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32 if on_cpu else torch.bfloat16, attn_implementation="sdpa")
    adapted = PeftModel.from_pretrained(model, start, is_trainable=True, autocast_adapter_dtype=not is_deepspeed_zero3_enabled())
    trainer = dpo_trainer(adapted, config, _on_disk(pairs, folder / "tokens"), tokenizer, folder.name)
    # TRL's copy of the adapter has given the reference log-probabilities. It must not get into a checkpoint: transformers would then load
    # the copy alone, and go on from the adapter in `start`.
    trainer.model.delete_adapter("ref")
    with shown(trainer, folder.name):
        outcome = trainer.train(resume_from_checkpoint=last_checkpoint(folder / "checkpoints"))
    trainer.save_model(str(folder / "adapter"))
    end_tracking(recipe.report_to)
    history: tuple[dict[str, float], ...] = tuple(trainer.state.log_history)
    late = [line for line in history if line["step"] > outcome.global_step * 0.75]
    return DpoResult(
        steps=outcome.global_step,
        pairs=len(pairs),
        train_loss=_mean(history, "loss"),
        reward_accuracy=_mean(late, "rewards/accuracies"),
        reward_margin=_mean(late, "rewards/margins"),
        tokens=int(trainer.state.num_input_tokens_seen),
        history=history,
    )


def dpo_config(recipe: Recipe, stage: Preference, folder: Path, *, ld_alpha: float | None) -> Any:
    """A stage of preference optimization as TRL takes it."""
    import torch
    from trl import DPOConfig

    on_cpu = not torch.cuda.is_available()
    return DPOConfig(
        output_dir=str(folder / "checkpoints"),
        run_name=f"{recipe.name}-{folder.name}",
        per_device_train_batch_size=stage.batch_size,
        gradient_accumulation_steps=stage.gradient_accumulation,
        num_train_epochs=stage.epochs,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # below 1 it is a share
        beta=stage.beta,
        ld_alpha=ld_alpha,
        loss_type=["sigmoid", "sft"] if stage.sft_weight else ["sigmoid"],
        loss_weights=[1.0, stage.sft_weight] if stage.sft_weight else None,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=stage.batch_size * 2,
        max_length=None,
        gradient_checkpointing=recipe.sft.gradient_checkpointing,
        use_cpu=on_cpu,
        bf16=in_bfloat16(recipe.sft.dtype),
        save_strategy="steps",
        save_steps=stage.save_steps,
        save_total_limit=2,
        logging_steps=1,  # checkpoints keep the log, so that the figures of the whole stage are known after a kill
        include_num_input_tokens_seen="non_padding",
        disable_tqdm=True,
        report_to=list(recipe.report_to) or "none",
        seed=recipe.seed,
        dataloader_pin_memory=not on_cpu,
    )


def dpo_trainer(model: Any, config: Any, pairs: Any, tokenizer: Any, name: str) -> Any:
    """TRL's trainer over a dataset of tokenised pairs; it computes the reference log-probabilities while it is made."""
    from trl import DPOTrainer

    from erpo_training.stages.batches import EpochOrder, order_of

    batches = math.ceil(len(pairs) / (config.precompute_ref_batch_size * config.world_size))

    class Trainer(DPOTrainer):  # type: ignore[misc]
        """Takes pairs that are tokenised already: as the server tokenises, prompt and trace apart. Order of batches as in stage 1."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *args: Any) -> Any:
            if self.is_fsdp_enabled:  # which shards the model later, and has left it where it was loaded
                self.model.to(self.accelerator.device)
            with without_tqdm(), ExitStack() as self._display:
                self._advance: Advance | None = None
                return super()._precompute_ref_logps(*args)

        def compute_ref_log_probs(self, *args: Any) -> Any:
            if self._advance is None and is_first():  # not at all when an earlier call has computed them
                self._advance = self._display.enter_context(progress(f"{name}: reference", batches))
            found = super().compute_ref_log_probs(*args)
            if self._advance is not None:
                self._advance()
            return found

        def _get_train_sampler(self, *_: Any) -> EpochOrder:
            return order_of(self)

    return Trainer(model=model, args=config, train_dataset=pairs, processing_class=tokenizer)


def _on_disk(pairs: Sequence[PairRow], folder: Path) -> Any:
    """The pairs as a dataset in a folder, written once: TRL keeps the reference log-probabilities beside it.

    So they are there when the stage goes on after a kill, and for every process when there are several.
    """
    from datasets import Dataset, load_from_disk

    with first_before_others():
        if not folder.is_dir():
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            Dataset.from_list(sorted(pair_columns(pairs), key=lambda row: row["length"])).save_to_disk(partial)  # little is padded
            os.replace(partial, folder)
    return load_from_disk(folder)


def _mean(lines: Sequence[dict[str, float]], key: str) -> float:
    return fmean(line[key] for line in lines if key in line)


def pair_columns(pairs: Iterable[PairRow]) -> Iterable[dict[str, Any]]:
    """The pairs as the trainer takes them."""
    return (
        {
            "prompt_ids": pair.prompt_ids,
            "chosen_ids": pair.chosen_ids,
            "rejected_ids": pair.rejected_ids,
            "length": len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)),
        }
        for pair in pairs
    )
