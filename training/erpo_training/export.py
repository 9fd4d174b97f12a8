"""The adapter folder: everything that a server needs to load the adapter and that a reader needs to judge it.

Owns which files there are and how they are written. Knows what was measured only as numbers handed to it.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erpo_rules import Rulebook
from erpo_rules.adapter import (
    BASE_FACTS,
    MANIFEST,
    TRACE_FORMAT,
    AdapterManifest,
    BaseModelIdentity,
    RulebookIdentity,
    read_manifest,
)
from erpo_training.atomic import write_whole
from erpo_training.evaluation.headline import headline
from erpo_training.recipe import Recipe
from erpo_training.report.card import model_card
from erpo_training.report.history import RECORD, SUMMARY
from erpo_training.template import aligned_tokenizer

SIZE_LIMIT = 12 * 1024 * 1024
"""An adapter of the embedded model has to fit into the wheel: bytes."""

CARD = "README.md"
PICTURE = "training.png"


class ExportError(RuntimeError):
    """The adapter or its card cannot be written as it should be."""


@dataclass(frozen=True, slots=True)
class Report:
    """What goes into the manifest and the card beside the recipe.

    Attributes:
        counts: items by source, kind, verdict and rule.
        summary: `summary.json` of `erpo eval`, whole; the manifest keeps its headline.
        record: the rest of `run.json` that the card tells of: machine, versions.
        picture: the course of training, drawn; copied into the folder.
    """

    metrics: dict[str, Any]
    counts: dict[str, dict[str, int]]
    summary: Mapping[str, Any] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    picture: Path | None = None


def export_adapter(recipe: Recipe, rulebook: Rulebook, base: Path, trained: Path, report: Report, folder: Path) -> None:
    """Write the adapter folder from a PEFT folder (`trained`). `folder` must not exist; it appears whole or not at all."""
    draft = folder.with_name(f".{folder.name}.partial")
    draft.mkdir(parents=True, exist_ok=True)
    _weights(trained / "adapter_model.safetensors", draft / "adapter_model.safetensors")
    config = json.loads((trained / "adapter_config.json").read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": recipe.public_base, "inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])
    _write_json(draft / "adapter_config.json", config)
    template = aligned_tokenizer(base, recipe.template_without).chat_template
    (draft / "chat_template.jinja").write_text(template, encoding="utf-8")
    manifest = manifest_of(recipe, rulebook, base, report)
    (draft / MANIFEST).write_text(manifest.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    if report.picture:
        shutil.copyfile(report.picture, draft / PICTURE)
    record = {**report.record, **_told(manifest), "data": report.counts}
    (draft / CARD).write_text(model_card(record, report.summary, PICTURE if report.picture else None), encoding="utf-8")
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(draft, folder)


def manifest_of(recipe: Recipe, rulebook: Rulebook, base: Path, report: Report) -> AdapterManifest:
    """What the server checks before it serves the adapter."""
    facts = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return AdapterManifest(
        trace_format=TRACE_FORMAT,
        base=BaseModelIdentity(name=recipe.public_base, config={fact: facts[fact] for fact in BASE_FACTS}),
        rulebook=RulebookIdentity.of(rulebook),
        recipe=recipe.model_dump(mode="json"),
        metrics=report.metrics | ({"evaluation": headline(report.summary)} if report.summary else {}),
    )


@dataclass(frozen=True, slots=True)
class Card:
    """A model card written anew, and the adapter's folder that it belongs into."""

    text: str
    adapter: Path
    picture: Path | None

    def write(self) -> Path:
        """Put it, and the picture, into the adapter's folder."""
        if self.picture and self.picture.parent != self.adapter:
            shutil.copyfile(self.picture, self.adapter / PICTURE)
        write_whole(self.adapter / CARD, self.text)
        return self.adapter / CARD


def card_of(place: Path, summary: Path | None = None) -> Card:
    """The card of a run folder or of an adapter's, from what is recorded there now.

    Args:
        place: a run folder, the `adapter` in one, or an adapter's folder away from its run: then the card tells what `erpo.json` holds.
        summary: `summary.json` of an evaluation; that in the run folder, or the headline in `erpo.json`, when omitted.

    Raises:
        ExportError: no run and no adapter there, or no evaluation in `summary`.
        AdapterError: an adapter whose manifest cannot be read.
    """
    here = place.resolve()
    run = here if (here / RECORD).is_file() else here.parent
    adapter = here / "adapter" if run == here else here
    if not (adapter / MANIFEST).is_file():
        raise ExportError(f"{str(place)!r}: neither a finished run ({RECORD}, adapter/{MANIFEST}) nor an adapter ({MANIFEST}); give one")
    in_run = adapter == run / "adapter" and (run / RECORD).is_file()
    manifest = read_manifest(adapter)
    record: dict[str, Any] = _told(manifest)
    if in_run:
        record |= {key: value for key, value in _json(run / RECORD).items() if key != "rulebook"}
    found = _summary(summary or (run / SUMMARY if in_run and (run / SUMMARY).is_file() else None))
    pictures = [adapter / PICTURE, *([run / PICTURE] if in_run else [])]
    picture = next((file for file in reversed(pictures) if file.is_file()), None)
    if found is None:
        record["metrics"] = {**record["metrics"], "evaluation": manifest.metrics.get("evaluation")}
    return Card(model_card(record, found, PICTURE if picture else None), adapter, picture)


def _told(manifest: AdapterManifest) -> dict[str, Any]:
    """The manifest in the form of `run.json`."""
    return manifest.model_dump(mode="json", include={"recipe", "base", "rulebook", "metrics"})


def _summary(file: Path | None) -> dict[str, Any] | None:
    if file is None:
        return None
    found = _json(file)
    if not {"figures", "subjects"} <= found.keys():
        raise ExportError(f"{str(file)!r}: no evaluation's summary: it lacks 'figures' and 'subjects'; give summary.json of erpo eval")
    return found


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"{str(file)!r}: {error.strerror}; give the file that erpo train or erpo eval wrote") from error
    except ValueError as error:
        raise ExportError(f"{str(file)!r}: not JSON: {error}; give the file that erpo train or erpo eval wrote") from error
    if not isinstance(found, dict):
        raise ExportError(f"{str(file)!r}: a {type(found).__name__}, not an object; give the file that erpo train or erpo eval wrote")
    return found


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
