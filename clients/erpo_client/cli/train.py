"""`erpo train`: an adapter, from one recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from erpo_client.cli.errors import bad_input

if TYPE_CHECKING:
    from erpo_training.stages.dry_run import Finding

_EPILOG = """Examples:

`erpo train smoke` runs every stage on 48 items, in minutes: to see that the installation works.

`erpo train smollm2-135m --data FOLDER` makes the adapter that ships with the server; FOLDER holds the third-party sets that the recipe
names.

`erpo train my-recipe.yaml --base ./my-model --output runs/second-try` trains by your own recipe; ./my-model holds the base that it names.

`erpo train smollm2-135m --seed 2` does it again with another seed, in runs/smollm2-135m-seed2.

`erpo train my-recipe.yaml --stages dpo,shorten --from ./adapter` goes on from an adapter that is there.

`erpo train qwen2.5-7b --dry-run` builds everything but the weights, and says what the run would take.

A run that is interrupted goes on where it stopped when the same command is given again. The adapter is in `adapter/` in the run folder;
`erpo serve --adapter runs/NAME/adapter` serves it. Every stage leaves one too: `erpo eval -s base -s sft=runs/NAME/sft/export`."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=_EPILOG)(train)


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's YAML file, or the name of a shipped one: smoke, smollm2-135m, ….")],
    output: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/NAME, or runs/NAME-seedN with --seed")] = None,
    base: Annotated[Path | None, typer.Option(help="Folder that holds the recipe's base model.", exists=True, file_okay=False)] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the third-party sets.", show_default="the recipe's data.folder")] = None,
    items: Annotated[
        Path | None, typer.Option(help="Folder that `erpo data build` wrote, in place of the recipe's data.", exists=True, file_okay=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the recipe's seed.")] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="Adapter to train on from, in place of a new one.", exists=True, file_okay=False, metavar="ADAPTER"),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Run only these of the recipe's stages: any of sft,dpo,shorten.", metavar="STAGE,…")
    ] = None,
    rerun: Annotated[str | None, typer.Option(help="First delete what this stage and those after it have made.", metavar="STAGE")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build everything but the weights; exit code 1 when something is missing.")
    ] = False,
) -> None:
    """Teach a base model to reason about safety rules before it answers: make a LoRA adapter."""
    with bad_input(ModuleNotFoundError):
        _need_training_packages()

    from erpo_rules import RulebookError
    from erpo_rules.adapter import AdapterError
    from erpo_training.base import BaseError, base_folder
    from erpo_training.data.items import ItemError
    from erpo_training.recipe import EMBEDDED, RecipeError, load_recipe
    from erpo_training.run import train as run
    from erpo_training.sampling import SamplingError
    from erpo_training.stages.starting import StartError
    from erpo_training.stages.trackers import TrackerError

    with bad_input(RecipeError):
        chosen = load_recipe(recipe)
    folder = output or Path("runs") / (chosen.name if seed is None else f"{chosen.name}-seed{seed}")
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    model = base
    if model is None and chosen.base == EMBEDDED:
        model = _embedded()
    third_party = data or Path(chosen.data.folder)
    if dry_run:
        from erpo_training.stages.dry_run import dry_run as find

        with bad_input(RecipeError):
            findings = find(chosen, model, third_party, items=items)
        _show(findings)
        raise typer.Exit(0 if all(finding.holds for finding in findings) else 1)
    with bad_input(AdapterError, RecipeError, RulebookError, ItemError, SamplingError, BaseError, StartError, TrackerError):
        run(
            chosen,
            model or base_folder(chosen.base),
            third_party,
            folder,
            say=typer.echo,
            items=items,
            start=start,
            stages=None if stages is None else stages.split(","),
            rerun=rerun,
        )


def _show(findings: "tuple[Finding, ...]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, show_lines=False, box=None, padding=(0, 2, 0, 0))
    for finding in findings:
        table.add_row("✓" if finding.holds else "✗", finding.what, finding.said)
    Console(width=max(100, Console().width)).print(table, markup=False)


def _embedded() -> Path:
    from erpo_server.embedded import EmbeddedModelError, embedded_model
    from erpo_server.once import CacheError

    with bad_input(EmbeddedModelError, CacheError):
        return embedded_model()


def _need_training_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("trl", "peft", "datasets", "vllm") if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"training needs {', '.join(missing)}: install erpo-server[train,cpu], or erpo-server[train,gpu] with a GPU"
        )
