"""`erpo serve` before the engine starts: what is refused, and what is told. The engine itself is not started."""

import shutil
from pathlib import Path

import pytest
from tests.server.tiny import TEMPLATE, make_adapter, make_base
from typer import Typer
from typer.testing import CliRunner, Result

from erpo_client.cli import serve
from erpo_server import launch
from erpo_server.settings import read_settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_adapter(make_base(folder / "base"), folder / "adapter")
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[launch.Plan]:
    """What would have been started."""
    plans: list[launch.Plan] = []
    for name in ("ERPO_RULEBOOK", "ERPO_REFUSAL_STYLE", "ERPO_DISABLE_RULES", "ERPO_STRICTNESS"):  # the command sets them
        monkeypatch.setenv(name, "unset")
        monkeypatch.delenv(name)
    monkeypatch.setenv("ERPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(launch, "check_engine", lambda: None)
    monkeypatch.setattr(launch, "serve", lambda plan, given: plans.append(plan))
    return plans


def erpo_serve(*arguments: object) -> Result:
    app = Typer()
    serve.register(app)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_rulebook_that_the_adapter_was_taught_is_served_without_a_word(made: Path, started: list[launch.Plan]) -> None:
    done = erpo_serve("--model", made / "base", "--adapter", made / "adapter")
    assert done.exit_code == 0
    assert "note:" not in done.stderr
    assert (started[0].model / "erpo.json").is_file()


def test_another_rulebook_is_served_with_a_note(made: Path, started: list[launch.Plan]) -> None:
    done = erpo_serve("--model", made / "base", "--adapter", made / "adapter", "--rulebook", "support-desk")
    assert done.exit_code == 0
    assert "note: rulebook 'support-desk' 1.0.0 has rules that the adapter was not taught" in done.stderr
    assert len(started) == 1


def test_an_adapter_that_does_not_fit_is_one_line_and_nothing_starts(made: Path, tmp_path: Path, started: list[launch.Plan]) -> None:
    adapter = Path(shutil.copytree(made / "adapter", tmp_path / "adapter"))
    (adapter / "chat_template.jinja").write_text(TEMPLATE)
    done = erpo_serve("--model", made / "base", "--adapter", adapter)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "a model call could skip the trace" in done.stderr
    assert not started


def test_strictness_is_handed_on_and_checked_before_anything_is_done(made: Path, started: list[launch.Plan]) -> None:
    given = ("--model", made / "base", "--adapter", made / "adapter", "--strictness")
    assert erpo_serve(*given, "0.5").exit_code == 0
    assert read_settings().strictness == 0.5
    done = erpo_serve(*given, "11")
    assert done.exit_code == 2
    assert done.stderr == "error: ERPO_STRICTNESS: Input should be less than or equal to 10 (got '11.0')\n"
    assert len(started) == 1
