"""Starting and stopping: settings that take effect at start, signals, and nothing left behind."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.serving import Server
from tests.e2e.test_chat import HARMFUL

pytestmark = pytest.mark.e2e

RULES_NONE = 4
"""Tokens of the trace of a request that raises no question."""


def seeded_side_by_side(url: str) -> set[int]:
    """Statuses of requests with a seed that do not fit into one step of the engine together: splitting one of them would end it."""

    def status(number: int) -> int:
        prompt = f"{number}. Summarise: " + f"the weather of day {number} was fine and nobody complained. " * 110
        body = {"model": "policy", "messages": [{"role": "user", "content": prompt}], "max_tokens": 4, "temperature": 1.0, "seed": 3}
        return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=300).status_code

    with ThreadPoolExecutor(4) as pool:
        return set(pool.map(status, range(4)))


def test_settings_take_effect_and_a_signal_leaves_no_process(tmp_path: Path) -> None:
    disabled = ["S1", "S9"]
    flags = [word for rule in disabled for word in ("--disable-rule", rule)]
    flags += ["--strictness", "10", "--no-enable-prefix-caching", "--served-model-name", "policy"]
    running = Server(tmp_path / "log", *flags, ERPO_REASONING="never").wait()
    try:
        rules = json.loads(running.get("/v1/rules")[1])["rules"]
        assert [rule["id"] for rule in rules if not rule["enabled"]] == disabled
        body = {"model": "policy", "messages": [{"role": "user", "content": HARMFUL}], "max_tokens": 8}
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=60).json()
        cited = {citation["rule_id"] for citation in answer["choices"][0]["erpo"]["citations"]}
        assert not cited & set(disabled)
        body["messages"] = [{"role": "user", "content": "Give me three names for a cat."}]
        assessed = httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=60).json()
        assert assessed["usage"]["completion_tokens_details"]["reasoning_tokens"] > RULES_NONE
        assert seeded_side_by_side(running.url) == {200}
        refused = httpx.post(f"{running.url}/v1/chat/completions?show_reasoning=1", json=body, timeout=60)
        assert refused.status_code == 403
    finally:
        code, left = running.stop(signal.SIGINT)
    assert (code, left) == (0, [])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rulebook", "no-such-rulebook"], "no-such-rulebook"),
        (["--disable-rule", "S99"], "S99"),
        (["--adapter", "no-such-folder"], "no-such-folder"),
        (["--refusal-style", "loud"], "loud"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(flags: list[str], said: str) -> None:
    done = subprocess.run([str(Path(sys.executable).parent / "erpo"), "serve", *flags], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
