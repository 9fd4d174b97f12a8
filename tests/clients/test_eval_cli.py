"""What `erpo eval` says of input that it cannot use: one line, exit code 2, and nothing started."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from erpo_client.cli.main import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--suite", "nothing"), "suite 'nothing'"),
        (("--subject", "no/such/folder"), "no/such/folder"),
        (("--gate", "nowhere.yaml"), "nowhere.yaml"),
        (("--rulebook", "nowhere.yaml"), "nowhere.yaml"),
        (("--judge-url", "http://localhost:1/v1"), "--judge-model"),
        (("--subject", "a=http://localhost:1/v1", "--subject", "a=http://localhost:2/v1"), "two subjects are called 'a'"),
        (("--subject", "http://localhost:1/v1@+0.5"), "'localhost-1' writes no trace here whose strictness could be set to +0.5"),
        (("--subject", "http://localhost:1/v1", "--suite", "ordinary", "--limit", "1"), "endpoint 'http://localhost:1/v1'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    subject = () if "--subject" in arguments else ("--subject", "http://localhost:1/v1")
    done = CliRunner().invoke(app, ["eval", *arguments, *subject, "--output", str(tmp_path / "run")])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
