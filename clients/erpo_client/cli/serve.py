"""`erpo serve`: the server, from one command."""

import os
from pathlib import Path
from typing import Annotated

import typer

from erpo_client.cli.errors import bad_input

_EPILOG = """Examples:

`erpo serve` serves the embedded SmolLM2-135M with the shipped adapter.

`erpo serve --rulebook my-rules.yaml --port 9000` serves it under your own rules.

`erpo serve --model Qwen/Qwen2.5-7B-Instruct --adapter ./my-adapter --tensor-parallel-size 2` serves a larger model on GPUs; every flag
that is not listed here goes to vLLM (`python -m vllm.entrypoints.openai.api_server --help` lists them).

Every setting can also come from the environment: ERPO_RULEBOOK, ERPO_DISABLE_RULES, ERPO_REFUSAL_STYLE, ERPO_REASONING,
ERPO_READ_ENCODED."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=_EPILOG, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve)


def serve(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="Base model: a folder or a hub id. Default: the embedded SmolLM2-135M-Instruct.")
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(help="Folder of an ERPO adapter, merged into the base at start. Default: the shipped one, for the embedded base."),
    ] = None,
    rulebook: Annotated[str | None, typer.Option(help="Name of a shipped rulebook, or a YAML file.", show_default="mlcommons")] = None,
    disable_rule: Annotated[list[str] | None, typer.Option(help="Id of a rule that is never cited; may be repeated.")] = None,
    refusal_style: Annotated[str | None, typer.Option(help="Who writes a refusal: 'rulebook' or 'model'.", show_default="rulebook")] = None,
    read_encoded: Annotated[
        bool | None,
        typer.Option("--read-encoded/--no-read-encoded", help="Show the model in plain what is sent encoded.", show_default="on"),
    ] = None,
    strictness: Annotated[
        float | None,
        typer.Option(help="Logits added where a trace opens: above 0 more is assessed and refused, below 0 less.", show_default="0"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    served_model_name: Annotated[str | None, typer.Option(help="Name that clients call the model by.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show vLLM's own log.")] = False,
) -> None:
    """Serve an aligned model through an OpenAI-compatible API."""
    import json

    from erpo_rules import RulebookError, load_rulebook
    from erpo_rules.adapter import MANIFEST, AdapterError, read_manifest, rulebook_note
    from erpo_server.embedded import EmbeddedModelError
    from erpo_server.launch import SERVED_NAME, EngineError, Plan, check_engine
    from erpo_server.launch import serve as run
    from erpo_server.models import ModelError, aligned_model
    from erpo_server.once import CacheError
    from erpo_server.settings import SettingError, read_settings

    given = {"ERPO_RULEBOOK": rulebook, "ERPO_REFUSAL_STYLE": refusal_style}
    if disable_rule:
        given["ERPO_DISABLE_RULES"] = json.dumps(disable_rule)
    if read_encoded is not None:
        given["ERPO_READ_ENCODED"] = json.dumps(read_encoded)
    if strictness is not None:
        given["ERPO_STRICTNESS"] = str(strictness)
    os.environ.update({name: value for name, value in given.items() if value is not None})
    with bad_input(EngineError, SettingError, RulebookError, KeyError, AdapterError, ModelError, EmbeddedModelError, CacheError):
        check_engine()
        settings = read_settings()
        book = load_rulebook(settings.rulebook)
        book.without(*settings.disable_rules)
        folder = aligned_model(model, adapter)
        if (folder / MANIFEST).is_file() and (note := rulebook_note(read_manifest(folder), book)):
            typer.echo(f"note: {note}", err=True)
        name = served_model_name or (SERVED_NAME if model is None else f"erpo-{Path(model).name.lower()}")
    run(Plan(folder, name, host, port, embedded=model is None, verbose=verbose), context.args)
