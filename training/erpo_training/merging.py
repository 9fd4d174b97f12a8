"""A trained adapter merged into its base's weights, with the aligned chat template: what is sampled from during training.

The server has a merge of its own (`erpo_server.merge`), of adapters from anywhere: it checks, files and hashes them. The two packages
do not know each other, and what both know (`erpo_rules`) knows no models.
"""

from pathlib import Path
from typing import Any


def merge(base: Path, adapter: Path, tokenizer: Any, folder: Path) -> None:
    """Write the merged model (summed in float32, saved in bf16) and its tokenizer, the aligned one, into `folder`."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
