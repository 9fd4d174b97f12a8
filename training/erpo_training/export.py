"""The adapter folder: everything that a server needs to load the adapter and that a reader needs to judge it.

Owns which files there are and how they are written. Knows what was measured only as numbers handed to it.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erpo_rules import Rulebook
from erpo_rules.adapter import BASE_FACTS, MANIFEST, TRACE_FORMAT, AdapterManifest, BaseModelIdentity, RulebookIdentity, with_trace_opening
from erpo_training.card import model_card
from erpo_training.recipe import Recipe

SIZE_LIMIT = 12 * 1024 * 1024
"""An adapter of the embedded model has to fit into the wheel: bytes."""


class ExportError(RuntimeError):
    """The adapter cannot be written as it should be."""


@dataclass(frozen=True, slots=True)
class Report:
    """What goes into the manifest and the card beside the recipe."""

    metrics: dict[str, Any]
    counts: dict[str, dict[str, int]]
    """Items by source, kind, verdict and rule."""


def export_adapter(recipe: Recipe, rulebook: Rulebook, base: Path, trained: Path, report: Report, folder: Path) -> None:
    """Write the adapter folder from a PEFT folder (`trained`). `folder` must not exist; it appears whole or not at all."""
    from transformers import AutoTokenizer

    draft = folder.with_name(f".{folder.name}.partial")
    draft.mkdir(parents=True, exist_ok=True)
    _weights(trained / "adapter_model.safetensors", draft / "adapter_model.safetensors")
    config = json.loads((trained / "adapter_config.json").read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": recipe.public_base, "inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])
    _write_json(draft / "adapter_config.json", config)
    template = with_trace_opening(AutoTokenizer.from_pretrained(base).chat_template)
    (draft / "chat_template.jinja").write_text(template, encoding="utf-8")
    manifest = manifest_of(recipe, rulebook, base, report)
    (draft / MANIFEST).write_text(manifest.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    (draft / "README.md").write_text(model_card(recipe, rulebook, report.metrics, report.counts), encoding="utf-8")
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(draft, folder)


def manifest_of(recipe: Recipe, rulebook: Rulebook, base: Path, report: Report) -> AdapterManifest:
    """What the server checks before it serves the adapter."""
    facts = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return AdapterManifest(
        trace_format=TRACE_FORMAT,
        base=BaseModelIdentity(name=recipe.public_base, config={fact: facts[fact] for fact in BASE_FACTS}),
        rulebook=RulebookIdentity(id=rulebook.id, version=rulebook.version, sha256=rulebook.sha256),
        recipe=recipe.model_dump(mode="json"),
        metrics=report.metrics,
    )


def _weights(trained: Path, target: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in load_file(trained).items()}
    if broken := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise ExportError(
            f"{trained}: {broken[0]!r} and {len(broken) - 1} more hold numbers that are not finite; lower 'sft.learning_rate'"
        )
    save_file(tensors, target, metadata={"format": "pt"})


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
