"""`erpo train`: what someone who trains types wrong, and what they are told. Nothing is trained here."""

from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from erpo_client.cli import train


@pytest.fixture(autouse=True)
def training_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_need_training_packages", lambda: None)


def erpo_train(*arguments: str) -> Result:
    app = Typer()
    train.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_help_teaches() -> None:
    said = " ".join(erpo_train("--help").output.split())
    assert all(part in said for part in ("erpo train smoke", "--base", "--data", "--output"))


def test_an_unknown_recipe_exits_2_with_one_line(tmp_path: Path) -> None:
    done = erpo_train(str(tmp_path / "none.yaml"), "--base", str(tmp_path))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: recipe ")
    assert done.stderr.count("\n") == 1


def test_a_missing_set_names_its_public_source(tmp_path: Path) -> None:
    done = erpo_train("smollm2-135m", "--base", str(tmp_path), "--data", str(tmp_path), "--output", str(tmp_path / "run"))
    assert done.exit_code == 2
    assert "bench-llm/or-bench" in done.stderr
