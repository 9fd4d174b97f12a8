"""An adapter merged into its base model's weights: one folder, filed in the cache under what both hold.

Merged weights are several times faster than a run-time adapter on CPU, and no base model is left that could be called by name.
Owns the checks, the hash and the merge. Does not know where base and adapter come from.
"""

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from erpo_rules.adapter import MANIFEST, AdapterError, check_base, opens_trace, read_manifest
from erpo_server.digest import sha256
from erpo_server.once import Once, cache
from erpo_server.steps import step

MERGE = 1
"""Raised when the merge below changes what it writes: every cached copy is then made again."""

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
TEMPLATE = "chat_template.jinja"


def merged_folder(base: Path, adapter: Path) -> Once:
    """Where the merged model stands, merged or not, once the adapter is known to fit.

    Raises:
        AdapterError: when the adapter is incomplete, unsafe or not made for this base.
    """
    manifest = read_manifest(adapter)
    check_base(manifest, _json(base / "config.json", "a base model's folder holds it"))
    _check_weights(adapter)
    _check_template(adapter / TEMPLATE)
    parts = [adapter / MANIFEST, adapter / CONFIG, adapter / WEIGHTS, adapter / TEMPLATE]
    weights = sorted(base.glob("*.safetensors"))
    if not weights:
        raise AdapterError(f"{base}: no *.safetensors; a base model is loaded from safetensors only")
    # The tokenizer and the generation defaults are copied into the result: they count like the weights.
    small = sorted(file for file in base.iterdir() if file.suffix in {".json", ".txt", ".model"} and file.name[0] != ".")
    lines = [f"{file.name} {file.stat().st_size} {sha256(file)}" for file in [*parts, *small, *weights]]
    key = hashlib.sha256("\n".join([f"merge {MERGE}", *lines]).encode()).hexdigest()
    return Once(cache() / "merged" / key[:16], key)


def merged_model(base: Path, adapter: Path) -> Path:
    """The folder of the base model with the adapter merged in, in bf16, with the adapter's chat template and `erpo.json`.

    The first call takes seconds for the embedded model; later ones only hash what changed.

    Raises:
        AdapterError: when the adapter is incomplete, unsafe or does not fit this base.
        CacheError: when the cache cannot be written.
    """
    return merged_folder(base, adapter).build(lambda folder: _merge(base, adapter, folder))


def _check_weights(adapter: Path) -> None:
    if not (adapter / WEIGHTS).is_file():
        pickled = sorted(adapter.glob("*.bin"))
        found = f"only {pickled[0].name!r}, and a pickle can run code; save the adapter again as safetensors" if pickled else "not there"
        raise AdapterError(f"{adapter / WEIGHTS}: {found}")
    kind = _json(adapter / CONFIG, "PEFT writes it beside the weights").get("peft_type")
    if kind != "LORA":
        raise AdapterError(f"{adapter / CONFIG}: peft_type {kind!r}; only 'LORA' can be merged into the weights")


def _check_template(path: Path) -> None:
    try:
        template = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AdapterError(f"{path}: {error.strerror}; an ERPO adapter carries the chat template that opens the trace") from error
    if not opens_trace(template):
        raise AdapterError(
            f"{path}: its generation prompt does not end with '<think>\\n', so a model call could skip the trace; "
            "write it with erpo_rules.adapter.with_trace_opening"
        )


def _merge(base: Path, adapter: Path, folder: Path) -> None:
    with step("Merging the adapter into the base model"):
        import torch
        from peft import PeftModel
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from erpo_server.hush import hushed

        with hushed(), warnings.catch_warnings():
            try:
                tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
                plain = AutoModelForCausalLM.from_pretrained(
                    base, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
                )
                # PEFT only warns when the file lacks a layer; merged, that layer would silently stay the base model's.
                warnings.filterwarnings("error", message="Found missing adapter keys")
                adapted = PeftModel.from_pretrained(plain, adapter, torch_device="cpu")
                # In fp32: a bf16 sum would round most of a small update away. `safe_merge` refuses numbers that are not finite.
                merged = adapted.merge_and_unload(safe_merge=True).to(torch.bfloat16)
            except (OSError, ValueError, RuntimeError, UserWarning, SafetensorError) as error:
                raise AdapterError(f"cannot merge {adapter} into {base}: {' '.join(str(error).split())[:300]}") from error
            merged.save_pretrained(folder)
            tokenizer.chat_template = (adapter / TEMPLATE).read_text(encoding="utf-8")
            tokenizer.save_pretrained(folder)
        shutil.copyfile(adapter / MANIFEST, folder / MANIFEST)


def _json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise AdapterError(f"{path}: {error.strerror}; {remedy}") from error
    except ValueError as error:
        raise AdapterError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise AdapterError(f"{path}: {type(value).__name__!r}; it must hold a JSON object")
    return value
