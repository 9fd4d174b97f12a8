"""`erpo train`: an adapter, from one recipe."""

from pathlib import Path
from typing import Annotated

import typer

from erpo_client.cli.errors import bad_input

_EPILOG = """Examples:

`erpo train smoke` runs every stage on 48 items, in minutes: to see that the installation works.

`erpo train smollm2-135m --data FOLDER` makes the adapter that ships with the server; FOLDER holds the third-party sets that the recipe
names.

`erpo train my-recipe.yaml --base ./my-model --output runs/second-try` trains by your own recipe; ./my-model holds the base that it names.

A run that is interrupted goes on where it stopped when the same command is given again. The adapter is in `adapter/` in the run folder;
`erpo serve --adapter runs/NAME/adapter` serves it."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=_EPILOG)(train)


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's YAML file, or the name of a shipped one: smoke or smollm2-135m.")],
    output: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/NAME")] = None,
    base: Annotated[Path | None, typer.Option(help="Folder that holds the recipe's base model.", exists=True, file_okay=False)] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the third-party sets.", show_default="the recipe's data.folder")] = None,
) -> None:
    """Teach a base model to reason about safety rules before it answers: make a LoRA adapter."""
    with bad_input(ModuleNotFoundError):
        _need_training_packages()

    from erpo_rules import RulebookError
    from erpo_training.base import BaseError, base_folder
    from erpo_training.items import ItemError
    from erpo_training.recipe import EMBEDDED, RecipeError, load_recipe
    from erpo_training.run import train as run
    from erpo_training.sampling import SamplingError

    with bad_input(RecipeError):
        chosen = load_recipe(recipe)
    folder = base
    if folder is None and chosen.base == EMBEDDED:
        folder = _embedded()
    with bad_input(RecipeError, RulebookError, ItemError, SamplingError, BaseError):
        run(
            chosen,
            folder or base_folder(chosen.base),
            data or Path(chosen.data.folder),
            output or Path("runs") / chosen.name,
            say=typer.echo,
        )


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
