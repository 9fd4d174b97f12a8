"""The adapter that a stage starts from: its identity, and whether one from elsewhere can be trained on with this base and recipe."""

import hashlib
import json
from pathlib import Path
from typing import Any

from erpo_rules.adapter import MANIFEST, AdapterError, check_base, read_manifest
from erpo_training.recipe import Lora
from erpo_training.stages.blueprint import blueprint

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


class StartError(ValueError):
    """An adapter that cannot be started from; the message names it, what is wrong and the remedy."""


def sha256_of(adapter: Path) -> str:
    """Which weights these are: sha256 of the file that holds them."""
    with (adapter / WEIGHTS).open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


def check_start(adapter: Path, base: Path, lora: Lora) -> None:
    """Hold an adapter (a PEFT folder, or an exported one) against the base and the recipe's `sft.lora`, without loading a weight.

    The recipe is the record of a run, so what it says of the adapter must be true of this one.

    Raises:
        StartError: with the first fault.
    """
    named = f"adapter {str(adapter)!r}"
    try:
        config = json.loads((adapter / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise StartError(f"{named}: no {CONFIG} that can be read; give a folder that erpo train or PEFT wrote") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise StartError(f"{named}: {CONFIG} describes no LoRA; only one of these can be trained on")
    _check_base(named, adapter, base)
    _check_shape(named, config, lora)
    _check_weights(named, adapter / WEIGHTS, base, lora)


def _check_base(named: str, adapter: Path, base: Path) -> None:
    if (adapter / MANIFEST).is_file():
        try:
            check_base(read_manifest(adapter), json.loads((base / "config.json").read_bytes()))
        except AdapterError as error:
            raise StartError(f"{named}: {error}") from error


def _check_shape(named: str, config: dict[str, Any], lora: Lora) -> None:
    target = config.get("target_modules")
    found = {
        "r": config.get("r"),
        "alpha": config.get("lora_alpha"),
        "target": sorted(target) if isinstance(target, list) else target,
        "first_layer": min(config.get("layers_to_transform") or [0]),
    }
    for key, wanted in (("r", lora.r), ("alpha", lora.alpha), ("target", sorted(lora.target)), ("first_layer", lora.first_layer)):
        if found[key] != wanted:
            raise StartError(f"{named}: its {key} is {found[key]!r}, the recipe's {wanted!r}; set 'sft.lora.{key}' in the recipe to match")


def _check_weights(named: str, weights: Path, base: Path, lora: Lora) -> None:
    from peft import get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "pt") as tensors:
            given = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise StartError(f"{named}: no {WEIGHTS} that can be read ({error}); save the adapter again as safetensors") from error
    expected = get_peft_model_state_dict(blueprint(base, lora), save_embedding_layers=False)
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise StartError(
                f"{named} does not fit base {str(base)!r}: {name!r} has the shape {given.get(name)}, this base's would have "
                f"{wanted.get(name)}; give the base that it was trained on"
            )
