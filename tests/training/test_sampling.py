"""The cache of completions: what is there is not sampled again, and a line that a kill cut is."""

from pathlib import Path

import pytest

from erpo_training.sampling import Completion, Request, SamplingError, Settings, complete, read_completions

LINE = '{"key": "a", "text": "Yes.", "finished": true, "tokens": 2}\n'


def test_a_cut_line_is_left_out(tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE + '{"key": "b", "te')
    assert read_completions(cache) == {"a": Completion("a", "Yes.", True, 2)}


def test_nothing_is_started_when_everything_is_there(tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE)
    assert complete(tmp_path / "no model", [Request("a", [1])], Settings(max_tokens=4), cache) == read_completions(cache)


def test_an_engine_that_fails_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(SamplingError, match=r"code 1 .*answers\.log"):
        complete(tmp_path / "no model", [Request("a", [1])], Settings(max_tokens=4), tmp_path / "answers.jsonl")
