"""`erpo rules`: what a policy owner types, reads and pipes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from erpo_client.cli.rules import app
from erpo_rules.rulebook import DEFAULT_RULEBOOK, builtin_rulebooks, load_rulebook


def erpo_rules(*arguments: str, terminal: bool = False) -> Result:
    environment = {"FORCE_COLOR": "1", "COLUMNS": "90"} if terminal else {"FORCE_COLOR": None, "TTY_COMPATIBLE": "0"}
    return CliRunner().invoke(app, list(arguments), env=environment)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The example rulebook as a policy owner's own file, one rule disabled."""
    data = load_rulebook("support-desk").without("SHOP-4").model_dump(mode="json")
    file = tmp_path / "house.yaml"
    file.write_text(yaml.safe_dump({**data, "id": "house"}), encoding="utf-8")
    return file


# lint


def test_lint_without_files_checks_every_shipped_rulebook() -> None:
    result = erpo_rules("lint")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(builtin_rulebooks())
    assert result.stdout.startswith(f"mlcommons 1.0.0: 14 rules, sha256 {load_rulebook().sha256[:12]}\n")


def test_lint_counts_disabled_rules(house: Path) -> None:
    assert erpo_rules("lint", str(house)).stdout.startswith("house 1.0.0: 4 rules (1 disabled), sha256 ")


def test_lint_prints_a_line_a_fault_and_goes_on_to_the_next_file(house: Path) -> None:
    data = yaml.safe_load(house.read_text(encoding="utf-8"))
    data["rules"][0]["action"] = "deny"
    del data["rules"][1]["refusal"]
    faulty = house.with_name("faulty.yaml")
    faulty.write_text(yaml.safe_dump(data), encoding="utf-8")
    result = erpo_rules("lint", str(faulty), "nowhere.yaml", str(house))
    assert result.exit_code == 2
    first, second, third = result.stderr.splitlines()
    assert first == f"error: {faulty}: rule 'SHOP-1', field 'action': Input should be 'refuse' or 'caution' (got 'deny')"
    assert second == f"error: {faulty}: rule 'SHOP-2', field 'refusal': Field required"
    assert third.startswith("error: rulebook 'nowhere.yaml': No such file or directory; give a YAML file or one of mlcommons")
    assert result.stdout.startswith("house 1.0.0"), "a sound file is still reported"


# show


def test_show_is_plain_lines_when_piped() -> None:
    lines = erpo_rules("show").stdout.splitlines()
    assert len(lines) == 14
    assert lines[1] == "S2\trefuse\tNon-violent crimes"


def test_show_lists_the_default_rulebook() -> None:
    assert erpo_rules("show").stdout == erpo_rules("show", DEFAULT_RULEBOOK).stdout


def test_show_marks_disabled_rules(house: Path) -> None:
    assert "SHOP-4\tdisabled\tUnsafe use of a product\n" in erpo_rules("show", str(house)).stdout


def test_show_is_a_table_on_a_terminal() -> None:
    output = erpo_rules("show", terminal=True).stdout
    assert "│ S14" in output
    assert "mlcommons 1.0.0: 14 rules" in output


@pytest.mark.parametrize("terminal", [False, True])
def test_one_rule_is_shown_in_full(terminal: bool) -> None:
    output = erpo_rules("show", "--rule", "S11", terminal=terminal).stdout
    rule = load_rulebook().rule("S11")
    shown = " ".join(output.replace("│", " ").split())
    for text in (rule.title, rule.covers, rule.excludes, rule.action, rule.refusal, rule.source):
        assert text in shown


def test_one_rule_is_a_line_a_field_when_piped() -> None:
    fields = dict(line.split("\t") for line in erpo_rules("show", "--rule", "S2").stdout.splitlines())
    assert fields["Rule"] == "S2 Non-violent crimes"
    assert fields["Refusal"] == load_rulebook().rule("S2").refusal


def test_json_is_the_rulebook_with_its_hash() -> None:
    shown = json.loads(erpo_rules("show", "support-desk", "--json").stdout)
    assert shown.pop("sha256") == load_rulebook("support-desk").sha256
    assert shown == load_rulebook("support-desk").model_dump(mode="json")


def test_json_of_one_rule_is_that_rule() -> None:
    assert json.loads(erpo_rules("show", "--rule", "S2", "--json").stdout) == load_rulebook().rule("S2").model_dump()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rule", "S99"), "error: no rule 'S99' in rulebook 'mlcommons': it has S1, S2, "),
        (("nowhere.yaml",), "error: rulebook 'nowhere.yaml': No such file or directory; give a YAML file or one of mlcommons"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    result = erpo_rules("show", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


# schema


def test_the_schema_accepts_what_the_loader_accepts(house: Path) -> None:
    schema = json.loads(erpo_rules("schema").stdout)
    Draft202012Validator.check_schema(schema)
    sound = yaml.safe_load(house.read_text(encoding="utf-8"))
    validator = Draft202012Validator(schema)
    assert validator.is_valid(sound)
    for faulty in ({**sound, "rules": []}, {**sound, "colour": "red"}, {**sound, "version": "1"}, {**sound, "rules": [{"id": "H-1"}]}):
        assert not validator.is_valid(faulty)
    assert all("description" in field for field in schema["properties"].values()), "editors show them"


# help


@pytest.mark.parametrize("command", ["lint", "show", "schema"])
def test_help_teaches_by_example(command: str) -> None:
    result = erpo_rules(command, "--help")
    assert result.exit_code == 0
    assert f"erpo rules {command}" in " ".join(result.stdout.split())


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys; from erpo_client.cli.rules import app; early = set(sys.modules); "
        "app(['lint'], standalone_mode=False); "
        "print(sorted({'erpo_rules', 'rich.table', 'yaml'} & early), sorted({'torch', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] []"
