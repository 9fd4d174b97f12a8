"""`erpo rules`: check, read and describe rulebooks. Knows neither a model nor a server."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erpo_client.cli.errors import bad_input

if TYPE_CHECKING:
    from rich.console import Console

    from erpo_rules import Rule, Rulebook

app = typer.Typer(
    help="Check, read and describe rulebooks: the YAML files that say which requests are refused, and why.",
    no_args_is_help=True,
)

_SHORT_HASH = 12


@app.command(
    epilog="Examples:\n\n`erpo rules lint` checks the shipped rulebooks.\n\n"
    "`erpo rules lint my-rules.yaml && erpo serve --rulebook my-rules.yaml` serves a rulebook only when it is sound."
)
def lint(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="YAML files or shipped names; default: all shipped.")] = None,
) -> None:
    """Check rulebooks: one line each with id, version, number of rules and sha256.

    Exits 2 when one has a fault, with one line a fault that names the file, the rule, the field and what would be right.
    """
    from erpo_rules.rulebook import RulebookError, builtin_rulebooks, load_rulebook

    faulty = False
    for name in files or builtin_rulebooks():
        try:
            typer.echo(_summary(load_rulebook(name)))
        except RulebookError as error:
            faulty = True
            for fault in str(error).splitlines():
                typer.echo(f"error: {fault}", err=True)
    if faulty:
        raise typer.Exit(2)


@app.command(
    epilog="Examples:\n\n`erpo rules show` lists the default rulebook.\n\n`erpo rules show --rule S2` prints one rule in full.\n\n"
    "`erpo rules show my-rules.yaml --json | jq '.rules[].title'` feeds another program."
)
def show(
    rulebook: Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="A shipped rulebook's name, or a YAML file.")] = "mlcommons",
    rule: Annotated[str | None, typer.Option(metavar="ID", help="Show this one rule with its full texts, e.g. S2.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the sha256 that responses and logs carry.")] = False,
) -> None:
    """Show a rulebook, or one rule of it in full. Piped into a file or a program, the output is plain text with tabs."""
    from rich.console import Console

    from erpo_rules.rulebook import RulebookError, load_rulebook

    with bad_input(RulebookError):
        book = load_rulebook(rulebook)
        try:
            chosen = book.rule(rule) if rule is not None else None
        except KeyError as error:
            raise RulebookError(error.args[0]) from error
    if as_json:
        typer.echo(_json(chosen.model_dump() if chosen else {**book.model_dump(), "sha256": book.sha256}))
        return
    console = Console()
    if chosen:
        _show_rule(chosen, console)
    else:
        _show_rulebook(book, console)


@app.command(
    epilog="Example:\n\n`erpo rules schema > rulebook.schema.json`, then let your editor complete and check a rulebook by starting it with "
    "`# yaml-language-server: $schema=rulebook.schema.json`."
)
def schema() -> None:
    """Print the JSON Schema of a rulebook, for editors and for checks in CI."""
    from erpo_rules import Rulebook

    typer.echo(_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **Rulebook.model_json_schema()}))


def _summary(book: "Rulebook") -> str:
    disabled = len(book.rules) - len(book.enabled)
    rules = f"{len(book.rules)} rules" + (f" ({disabled} disabled)" if disabled else "")
    return f"{book.id} {book.version}: {rules}, sha256 {book.sha256[:_SHORT_HASH]}"


def _show_rulebook(book: "Rulebook", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    if not console.is_terminal:
        for rule in book.rules:
            typer.echo("\t".join((rule.id, _action(rule), rule.title)))
        return
    table = Table("Rule", "Strongest verdict", "Title", title=Text(book.title), caption=Text(_summary(book)))
    for rule in book.rules:
        table.add_row(*map(Text, (rule.id, _action(rule), rule.title)), style=None if rule.enabled else "dim")
    console.print(table)


def _show_rule(rule: "Rule", console: "Console") -> None:
    from rich.panel import Panel
    from rich.text import Text

    texts = {
        "Covers": rule.covers,
        "Excludes": rule.excludes,
        "Strongest verdict": _action(rule),
        "Refusal": rule.refusal,
        "Source": rule.source,
    }
    if not console.is_terminal:
        typer.echo("\n".join(f"{name}\t{' '.join(text.split())}" for name, text in {"Rule": f"{rule.id} {rule.title}", **texts}.items()))
        return
    body = Text("\n\n").join(Text.assemble((f"{name}\n", "bold"), text) for name, text in texts.items())
    console.print(Panel(body, title=Text(f"{rule.id} {rule.title}"), width=min(console.width, 100)))


def _action(rule: "Rule") -> str:
    return rule.action if rule.enabled else "disabled"


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2)
