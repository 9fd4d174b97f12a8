"""A base model with a new adapter, without a single weight: names, shapes and counts, in seconds and no memory.

Knows configurations alone; nothing is downloaded or loaded here.
"""

from pathlib import Path
from typing import Any

from erpo_training.recipe import Lora, RecipeError


def blueprint(base: Path, lora: Lora) -> Any:
    """The PEFT model on torch's meta device. Raises `ValueError` and `OSError`, as transformers and PEFT do, for what does not fit."""
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base, local_files_only=True), dtype=torch.bfloat16)
        return get_peft_model(model, lora_config(lora, model.config.num_hidden_layers))


def lora_config(lora: Lora, layers: int) -> Any:
    """The recipe's adapter as PEFT takes it, for a base of so many layers. Raises `RecipeError` when none is left to adapt."""
    from peft import LoraConfig

    if lora.first_layer >= layers:
        raise RecipeError(f"the base has {layers} layers; 'sft.lora.first_layer' is {lora.first_layer}, lower it")
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target),
        layers_to_transform=list(range(lora.first_layer, layers)) if lora.first_layer else None,
        task_type="CAUSAL_LM",
    )
