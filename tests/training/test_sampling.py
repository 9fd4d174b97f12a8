"""The cache of completions: what is there is not sampled again, and a line that a kill cut is. The engine's process is a script here."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from erpo_training import sampling
from erpo_training.sampling import Completion, Request, SamplingError, Settings, complete, engine_environment, read_completions

LINE = '{"key": "a", "text": "Yes.", "finished": true, "tokens": 2}\n'
REQUEST = Request("a", (1,), Settings(max_tokens=4))

ENGINE = """
import json, os, sys
job = json.load(open(sys.argv[-1], encoding="utf-8"))
json.dump({"job": job, "environment": dict(os.environ)}, open(%(seen)r, "w", encoding="utf-8"))
with open(job["output"], "a", encoding="utf-8") as sink:
    for request in job["requests"][:%(most)d]:
        completion = {"key": request["key"], "text": "☂", "finished": True, "tokens": 1}
        sink.write(json.dumps(completion, ensure_ascii=False) + "\\n")
sys.exit(%(code)d)
"""

Engine = Callable[..., Path]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Makes a script that takes the engine's place: it completes at most `most` requests and ends with `code`. Gives what it was told."""

    def place(most: int = 99, code: int = 0) -> Path:
        script, seen = tmp_path / "engine", tmp_path / "seen.json"
        script.write_text(f"#!{python}\n" + ENGINE % {"seen": str(seen), "most": most, "code": code}, encoding="utf-8")
        script.chmod(0o700)
        monkeypatch.setattr("sys.executable", str(script))
        return seen

    python = sys.executable
    return place


def told(seen: Path) -> Any:
    return json.loads(seen.read_text(encoding="utf-8"))


def requests(*keys: str, **settings: Any) -> list[Request]:
    return [Request(key, (1, 2), Settings(max_tokens=4, **settings)) for key in keys]


def test_a_cut_line_is_left_out(tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE + '{"key": "b", "te')
    assert read_completions(cache) == {"a": Completion("a", "Yes.", True, 2)}


def test_a_line_that_was_cut_in_the_middle_of_a_character_is_left_out(tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    cache.write_bytes(LINE.encode() + '{"key": "b", "text": "☂'.encode()[:-1])
    assert set(read_completions(cache)) == {"a"}


@pytest.mark.parametrize("line", ["12", "[]", '"text"', "{}", '{"key": "b", "text": "", "finished": true, "tokens": 0, "more": 1}', ""])
def test_a_line_that_is_no_completion_is_left_out(tmp_path: Path, line: str) -> None:
    cache = tmp_path / "answers.jsonl"
    cache.write_text(line + "\n" + LINE)
    assert set(read_completions(cache)) == {"a"}


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE.replace("Yes.", "Yes\u2028\x85."), encoding="utf-8")
    assert read_completions(cache)["a"].text == "Yes\u2028\x85."


def test_nothing_is_started_when_everything_is_there(tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE)
    assert complete(tmp_path / "no model", [REQUEST], cache) == read_completions(cache)


def test_an_engine_that_fails_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(SamplingError, match=r"code 1 .*answers\.log"):
        complete(tmp_path / "no model", [REQUEST], tmp_path / "answers.jsonl")


def test_the_engine_is_asked_for_what_is_missing_and_once_for_a_key(tmp_path: Path, engine: Engine) -> None:
    seen, cache = engine(), tmp_path / "new" / "answers.jsonl"
    cache.parent.mkdir()
    cache.write_text(LINE)
    found = complete(tmp_path / "model", requests("a", "b", "c", "b"), cache, max_model_len=64)
    assert {key: one.text for key, one in found.items()} == {"a": "Yes.", "b": "☂", "c": "☂"}
    job = told(seen)["job"]
    assert [request["key"] for request in job["requests"]] == ["b", "c"]
    assert (job["model"], job["max_model_len"]) == (str(tmp_path / "model"), 64)
    assert not cache.with_suffix(".job.json").exists()


def test_settings_are_told_once_and_each_request_has_its_own(tmp_path: Path, engine: Engine) -> None:
    seen = engine()
    complete(
        tmp_path,
        [*requests("a", "b"), *requests("c", grammar="root ::= x", bad_words=("no",), bias=((7, 0.5),))],
        tmp_path / "answers.jsonl",
    )
    job = told(seen)["job"]
    assert [request["settings"] for request in job["requests"]] == [0, 0, 1]
    assert job["settings"][1] == {
        "max_tokens": 4,
        "temperature": 0.0,
        "seed": 0,
        "grammar": "root ::= x",
        "bad_words": ["no"],
        "bias": [[7, 0.5]],
    }


def test_an_engine_that_ends_early_leaves_what_it_made_and_the_next_call_goes_on(tmp_path: Path, engine: Engine) -> None:
    cache = tmp_path / "answers.jsonl"
    engine(most=1, code=3)
    with pytest.raises(SamplingError, match="code 3 before all 2 prompts"):
        complete(tmp_path, requests("a", "b"), cache)
    assert set(read_completions(cache)) == {"a"}
    seen = engine()
    assert set(complete(tmp_path, requests("a", "b"), cache)) == {"a", "b"}
    assert [request["key"] for request in told(seen)["job"]["requests"]] == ["b"]


@pytest.mark.parametrize("cut", ['{"key": "b", "te', LINE.rstrip("\n")])
def test_a_cut_last_line_is_ended_before_the_engine_appends(tmp_path: Path, engine: Engine, cut: str) -> None:
    engine()
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE + cut)
    assert set(complete(tmp_path, requests("a", "b", "c"), cache)) == {"a", "b", "c"}
    lines = cache.read_text(encoding="utf-8").split("\n")
    assert lines[1] == cut
    assert lines[-1] == ""
    assert len(lines) == 5


def test_whole_lines_are_not_torn_apart_by_an_empty_one(tmp_path: Path, engine: Engine) -> None:
    engine()
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE)
    complete(tmp_path, requests("a", "b"), cache)
    assert "\n\n" not in cache.read_text(encoding="utf-8")


def test_progress_follows_the_output_file(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, int]] = []
    steps: list[None] = []

    @contextmanager
    def counted(task: str, total: int) -> Iterator[Callable[[], None]]:
        shown.append((task, total))
        yield lambda: steps.append(None)

    monkeypatch.setattr(sampling, "progress", counted)
    engine()
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE + '{"key": "b", "te')
    complete(tmp_path, requests("a", "b", "c", "d"), cache, task="answers")
    assert shown == [("answers", 3)]
    assert len(steps) == 3


LEAVES_A_WORKER = """
import json, os, subprocess, sys, time
job = json.load(open(sys.argv[-1], encoding="utf-8"))
worker = subprocess.Popen(["sleep", "600"])
with open(%r, "w") as pids:
    pids.write(f"{os.getpid()} {worker.pid}")
with open(job["output"], "a", encoding="utf-8") as sink:
    sink.write(json.dumps({"key": "a", "text": "", "finished": True, "tokens": 0}) + "\\n")
time.sleep(%d)
os._exit(1)
"""


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # ended, though nobody has asked how


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("stays", [0, 600], ids=["the engine fails", "the user interrupts"])
def test_nothing_of_the_engine_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: int) -> None:
    @contextmanager
    def interrupted(task: str, total: int) -> Iterator[Callable[[], None]]:
        def advance() -> None:
            raise KeyboardInterrupt

        yield advance if stays else lambda: None

    monkeypatch.setattr(sampling, "progress", interrupted)
    script, pids = tmp_path / "engine", tmp_path / "pids"
    script.write_text(f"#!{sys.executable}\n" + LEAVES_A_WORKER % (str(pids), stays), encoding="utf-8")
    script.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(script))
    with pytest.raises(KeyboardInterrupt if stays else SamplingError):
        complete(tmp_path, requests("a", "b"), tmp_path / "answers.jsonl")
    left = [int(pid) for pid in pids.read_text().split()]
    deadline = time.monotonic() + 10
    while any(map(runs, left)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(left) == 2
    assert not any(map(runs, left))


def test_the_engine_has_every_core_and_neither_plugins_nor_a_way_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    monkeypatch.setenv("VLLM_PLUGINS", "erpo")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("OTHER", "kept")
    environment = engine_environment()
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == f"0-{len(os.sched_getaffinity(0)) - 1}"
    fixed = {"VLLM_PLUGINS": "", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "OTHER": "kept"}
    assert fixed.items() <= environment.items()


def test_what_the_user_says_about_cores_and_logs_goes_before_our_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-0")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    environment = engine_environment()
    assert (environment["VLLM_CPU_OMP_THREADS_BIND"], environment["VLLM_LOGGING_LEVEL"]) == ("0-0", "DEBUG")


def test_the_engine_runs_in_that_environment(tmp_path: Path, engine: Engine) -> None:
    seen = engine()
    complete(tmp_path, requests("a"), tmp_path / "answers.jsonl")
    assert engine_environment().items() <= told(seen)["environment"].items()


class ScriptedEngine:
    """Finishes the oldest request at each step, as vLLM's engine reports it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, list[int], Any]] = []
        self.prompts: dict[str, list[int]] = {}
        self.most = 0

    @property
    def llm_engine(self) -> "ScriptedEngine":
        return self

    def get_num_unfinished_requests(self) -> int:
        return len(self.waiting)

    def add_request(self, key: str, prompt: dict[str, list[int]], settings: Settings) -> None:
        self.waiting.append((key, prompt["prompt_token_ids"], settings))
        self.prompts[key] = prompt["prompt_token_ids"]
        self.most = max(self.most, len(self.waiting))

    def step(self) -> list[Any]:
        key, _, settings = self.waiting.pop(0)
        end = "stop" if settings.grammar else "length"
        done = SimpleNamespace(text=f"{key}: ☂\n", finish_reason=end, token_ids=[1] * settings.max_tokens)
        under_way = [SimpleNamespace(finished=False, request_id=other) for other, *_ in self.waiting]
        return [SimpleNamespace(finished=True, request_id=key, outputs=[done]), *under_way]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine()
    monkeypatch.setattr(sampling, "offline_engine", lambda model, max_model_len: engine)
    monkeypatch.setattr(sampling, "sampling_params", lambda settings: settings)
    return engine


def work(output: Path, requests: list[tuple[str, list[int], int]]) -> None:
    settings = [{"max_tokens": 4, "bad_words": []}, {"max_tokens": 8, "grammar": "root ::= x", "bad_words": ["no"], "bias": [[7, 0.5]]}]
    rows = [{"key": key, "prompt": prompt, "settings": number} for key, prompt, number in requests]
    sampling._work({"model": "m", "output": str(output), "max_model_len": 16, "settings": settings, "requests": rows})


def test_the_engine_files_each_completion_under_its_key(tmp_path: Path, scripted: ScriptedEngine) -> None:
    cache = tmp_path / "answers.jsonl"
    cache.write_text(LINE)
    work(cache, [("b", [1, 2, 3], 0), ("c", [1], 1)])
    assert read_completions(cache) == {
        "a": Completion("a", "Yes.", True, 2),
        "b": Completion("b", "b: ☂\n", False, 4),
        "c": Completion("c", "c: ☂\n", True, 8),
    }


def test_no_more_prompts_are_handed_over_than_are_queued(tmp_path: Path, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "QUEUED", 3)
    work(tmp_path / "answers.jsonl", [(str(i), [1] * (9 - i), 0) for i in range(9)])
    assert scripted.most == 3
    assert list(scripted.prompts) == list("876543210")


def test_a_prompt_that_leaves_no_room_keeps_its_end(tmp_path: Path, scripted: ScriptedEngine) -> None:
    work(tmp_path / "answers.jsonl", [("a", list(range(16)), 0), ("b", list(range(12)), 0), ("c", list(range(12)), 1)])
    assert scripted.prompts == {"a": list(range(4, 16)), "b": list(range(12)), "c": list(range(4, 12))}
