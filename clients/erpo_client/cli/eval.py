"""`erpo eval`: base and aligned models side by side, in numbers and in one report."""

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erpo_client.cli.errors import bad_input

if TYPE_CHECKING:
    from erpo_training.evaluation.subject import Subject

_EPILOG = """Examples:

`erpo eval` puts the embedded base model and the shipped adapter side by side, on every development suite.

`erpo eval -s base -s mine=runs/mine/adapter --suite harmful --suite lookalike` compares your adapter with its base on two suites.

`erpo eval -s base -s policy -s http://localhost:8000/v1` asks the base, the base with the rulebook in its system prompt, and a server.

`erpo eval -s base -s runs/mine/adapter --gate gates.yaml` exits with 1 when a floor in the file is broken: for continuous integration.

A SUBJECT is `base`, `policy` (the base with the rulebook in its system prompt), `shipped`, a folder of an adapter or of a model, a hub
id, or the URL of an OpenAI-compatible API (`URL#MODEL` names the model; the key is read from OPENAI_API_KEY). `LABEL=SUBJECT` says what
the report calls it. `SUBJECT@+0.5` is the same adapter half a logit stricter (`@-0.5`: milder), as `erpo serve --strictness 0.5` is: a
few show what it trades. The first subject is what the others are compared with. A run that is interrupted goes on where it stopped when
the same command is given again."""

_LABEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)=(.+)")
_STRICTNESS = re.compile(r"(.+)@([+-]\d+(?:\.\d+)?)")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(name="eval", epilog=_EPILOG)(evaluate)


def evaluate(
    subject: Annotated[
        list[str] | None, typer.Option("--subject", "-s", help="Who is asked; may be repeated.", show_default="base, shipped")
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="A suite's name or YAML file; may be repeated.", show_default="every shipped suite")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the third-party sets; what it lacks is loaded from the hub.")] = None,
    trained: Annotated[
        Path | None, typer.Option(help="Folder of third-party training sets, to look for overlap with.", show_default="DATA/../train")
    ] = None,
    output: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/eval"),
    base: Annotated[
        Path | None, typer.Option(help="Base model of `base`, `policy` and adapters.", show_default="the embedded one", file_okay=False)
    ] = None,
    rulebook: Annotated[str, typer.Option(help="Name of a shipped rulebook, or a YAML file.")] = "mlcommons",
    seed: Annotated[int, typer.Option(help="Which cases are drawn.")] = 0,
    full: Annotated[bool, typer.Option("--full", help="Every row of every set, instead of the suites' samples.")] = False,
    limit: Annotated[int | None, typer.Option(help="At most this many cases of each part of a suite, for a trial.", min=1)] = None,
    gate: Annotated[Path | None, typer.Option(help="YAML file of floors; exit code 1 when one is broken.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of a language model that judges answers too.")] = None,
    judge_model: Annotated[str | None, typer.Option(help="Its model's name.")] = None,
    judge_key: Annotated[str | None, typer.Option(help="Environment variable that holds its API key.", metavar="VARIABLE")] = None,
    show_harmful: Annotated[
        bool, typer.Option("--show-harmful", help="Write harmful text into the report instead of redacting it.")
    ] = False,
) -> None:
    """Measure models side by side: harm, attacks, over-refusal, usefulness, rules, cost. Writes numbers and an HTML report."""
    with bad_input(ModuleNotFoundError):
        _need_evaluation_packages()

    from erpo_rules import RulebookError, load_rulebook
    from erpo_training.evaluation.checkers import CheckerError
    from erpo_training.evaluation.gates import GateError, load_gates
    from erpo_training.evaluation.judges.llm import Endpoint as Judge
    from erpo_training.evaluation.judges.llm import JudgeError
    from erpo_training.evaluation.run import Plan
    from erpo_training.evaluation.run import evaluate as run
    from erpo_training.evaluation.sets import SetError
    from erpo_training.evaluation.subject import SubjectError
    from erpo_training.evaluation.suite import SuiteError, load_suite, shipped_suites
    from erpo_training.sampling import SamplingError

    with bad_input(SuiteError, GateError, RulebookError, SubjectError, JudgeError):
        if (judge_url is None) != (judge_model is None):
            raise JudgeError("a judging model needs both --judge-url and --judge-model")
        plan = Plan(
            subjects=_subjects(subject or ["base", "shipped"], base),
            suites=tuple(load_suite(name) for name in suite or shipped_suites()),
            rulebook=load_rulebook(rulebook),
            data=data,
            trained=trained or (data / ".." / "train" if data else None),
            seed=seed,
            everything=full,
            most=limit,
            gates=load_gates(gate) if gate else (),
            judge=Judge(judge_url, judge_model, judge_key) if judge_url and judge_model else None,
            show_harmful=show_harmful,
            command=shlex.join(["erpo", *sys.argv[1:]]),
        )
    with bad_input(SuiteError, SetError, SubjectError, SamplingError, JudgeError, CheckerError, RulebookError):
        found = run(plan, output, typer.echo)
    _show(found.summary)
    typer.echo(f"\nreport: {found.report}")
    for outcome in found.outcomes:
        value = "not measured" if outcome.value is None else f"{outcome.value:.3g}"
        typer.echo(f"{'holds ' if outcome.holds else 'BROKEN'} {outcome.text} ({value})")
    if not found.holds:
        raise typer.Exit(1)


def _subjects(given: list[str], base: Path | None) -> "tuple[Subject, ...]":
    from erpo_training.evaluation.subject import SubjectError

    found: dict[str, Subject] = {}
    for one in given:
        match = None if one.startswith(("http://", "https://")) else _LABEL.fullmatch(one)
        label, what = (match[1], match[2]) if match else (None, one)
        strict = _STRICTNESS.fullmatch(what)
        subject = _strict(_subject(strict[1], label, base), strict[2], named=bool(label)) if strict else _subject(what, label, base)
        if subject.label in found:
            raise SubjectError(f"two subjects are called {subject.label!r}; name one otherwise: LABEL={what}")
        found[subject.label] = subject
    return tuple(found.values())


def _strict(subject: "Subject", strictness: str, *, named: bool) -> "Subject":
    """An adapter with another balance than its own; its label says so unless a user `named` it. Raises `SubjectError`."""
    from dataclasses import replace

    from erpo_training.evaluation.subject import Local, SubjectError

    if not isinstance(subject, Local) or not subject.aligned:
        raise SubjectError(f"{subject.label!r} writes no trace here whose strictness could be set to {strictness}; only an adapter does")
    label = subject.label if named else f"{subject.label}{strictness}"
    return replace(subject, label=label, what=f"{subject.what}, strictness {strictness}", strictness=float(strictness))


def _subject(what: str, label: str | None, base: Path | None) -> "Subject":
    """The subject that a word, folder, hub id or URL stands for. Raises `SubjectError`."""
    from urllib.parse import urlsplit

    from erpo_rules.adapter import AdapterError, opens_trace
    from erpo_server.fit import CONFIG
    from erpo_server.merge import merged_model
    from erpo_server.models import ModelError, shipped_adapter
    from erpo_server.once import CacheError
    from erpo_training.base import BaseError, base_folder
    from erpo_training.evaluation.subject import Endpoint, Local, SubjectError

    if what.startswith(("http://", "https://")):
        url, _, model = what.partition("#")
        return Endpoint(label or re.sub(r"[^A-Za-z0-9._-]", "-", urlsplit(url).netloc), url.rstrip("/"), model or None)
    try:
        if what in ("base", "policy"):
            folder = base or _embedded()
            policy = what == "policy"
            text = f"{'base with the rulebook in its system prompt' if policy else 'base model'} ({folder.name})"
            return Local(label or what, text, folder, _identity(folder), aligned=False, policy=policy)
        adapter = shipped_adapter() if what == "shipped" else Path(what)
        if (adapter / CONFIG).is_file():
            folder = merged_model(base or _embedded(), adapter)
            name = adapter.parent.name if adapter.name == "adapter" else adapter.name
            return Local(label or ("shipped" if what == "shipped" else name), f"adapter {name}", folder, _identity(folder), aligned=True)
        folder = base_folder(what)
        template = folder / "chat_template.jinja"
        aligned = template.is_file() and opens_trace(template.read_text(encoding="utf-8"))
        return Local(label or Path(what).name, f"model {Path(what).name}", folder, _identity(folder), aligned=aligned)
    except (AdapterError, ModelError, CacheError, BaseError) as error:
        raise SubjectError(f"subject {what!r}: {error}") from error


def _identity(model: Path) -> str:
    """A hash of all of a model that an answer depends on. Seconds for gigabytes; the hash of a file that did not change is kept."""
    import hashlib

    from erpo_server.digest import sha256

    files = sorted(file for file in model.iterdir() if file.suffix in (".json", ".safetensors", ".jinja", ".txt", ".model"))
    return hashlib.sha256("".join(f"{file.name} {sha256(file)}\n" for file in files).encode()).hexdigest()[:16]


def _embedded() -> Path:
    from erpo_server.embedded import EmbeddedModelError, embedded_model
    from erpo_server.once import CacheError

    with bad_input(EmbeddedModelError, CacheError):
        return embedded_model()


def _show(summary: dict[str, Any]) -> None:
    """The figures over whole suites, as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    subjects = [subject["label"] for subject in summary["subjects"]]
    table = Table("suite", "figure", "of", *subjects)
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    wanted = {"all", "families", "direct", "wrapped", "harmful", "lookalike", "ordinary"}
    for figure in summary["figures"]:
        if figure["group"] in wanted:
            row = rows.setdefault((figure["suite"], figure["metric"], figure["group"]), {})
            row[figure["subject"]] = _number(figure)
    for place, row in rows.items():
        table.add_row(*place, *(row.get(subject, "–") for subject in subjects))
    Console(width=max(100, Console().width)).print(table)


def _number(figure: dict[str, Any]) -> str:
    if figure["unit"] == "share":
        return f"{figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%}; {figure['n']})"
    return f"{figure['value']:.3g} ({figure['n']})"


def _need_evaluation_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("vllm", "sklearn", "scipy", "matplotlib", "jinja2", "lm_eval", "peft") if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"evaluation needs {', '.join(missing)}: install erpo-server[eval,cpu], or erpo-server[eval,gpu] with a GPU"
        )
