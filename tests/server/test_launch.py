"""The flags and the environment that vLLM is started with: ours by default, the operator's where he gave them."""

import os
from pathlib import Path
from typing import Any

import pytest

from erpo_server.launch import CONTEXT, EngineError, Plan, check_engine, cpu_dtype, engine_environment, engine_flags


def plan(**given: Any) -> Plan:
    return Plan(**{"model": Path("folder"), "name": "aligned", "host": "127.0.0.1", "port": 8000, "embedded": True, **given})


def value(flags: list[str], name: str) -> str:
    assert flags.count(name) == 1
    return flags[flags.index(name) + 1]


def test_the_model_is_served_under_its_name_alone() -> None:
    flags = engine_flags(plan(port=9000), [], cpu=False)
    assert value(flags, "--model") == "folder"
    assert value(flags, "--served-model-name") == "aligned"
    assert value(flags, "--host") == "127.0.0.1"
    assert value(flags, "--port") == "9000"
    assert "--enable-per-request-metrics" in flags


@pytest.mark.parametrize(
    "given",
    [
        ["--max-model-len", "1024"],
        ["--max-model-len=1024"],
        ["--max_model_len", "1024"],
        ["--max_model_len=1024"],
    ],
)
def test_the_operators_flag_wins(given: list[str]) -> None:
    flags = engine_flags(plan(), given, cpu=True)
    assert str(CONTEXT) not in flags
    assert flags[-len(given) :] == given
    assert "--max-model-len" not in flags[: -len(given)]


def test_the_operators_values_are_not_taken_for_flags() -> None:
    flags = engine_flags(plan(), ["--seed", "-1", "--lora-modules", "dtype=x"], cpu=True)
    assert value(flags, "--dtype") == cpu_dtype()


@pytest.mark.parametrize(("cpu", "embedded"), [(True, False), (False, True)])
def test_what_suits_a_cpu_or_the_embedded_model_is_given_to_it_alone(cpu: bool, embedded: bool) -> None:
    flags = engine_flags(plan(embedded=embedded), [], cpu=cpu)
    assert ("--dtype" in flags) is cpu
    assert ("--max-model-len" in flags) is embedded


@pytest.mark.parametrize("given", [["--enable-chunked-prefill"], ["--max-num-batched-tokens=512"], []])
def test_prompts_are_not_split_on_a_cpu_unless_asked_for(given: list[str]) -> None:
    assert ("--no-enable-chunked-prefill" in engine_flags(plan(), given, cpu=True)) is (not given)
    assert "--no-enable-chunked-prefill" not in engine_flags(plan(), given, cpu=False)


def test_vllms_log_is_quiet_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_LOGGING_LEVEL", raising=False)  # TRL sets it when it is imported
    assert value(engine_flags(plan(), [], cpu=True), "--uvicorn-log-level") == "warning"
    assert "--uvicorn-log-level" not in engine_flags(plan(verbose=True), [], cpu=True)
    assert engine_environment(plan(), cpu=False)["VLLM_LOGGING_LEVEL"] == "ERROR"
    assert "VLLM_LOGGING_LEVEL" not in engine_environment(plan(verbose=True), cpu=False)


@pytest.mark.parametrize("cpu", [False, True])
def test_the_operators_environment_wins(monkeypatch: pytest.MonkeyPatch, cpu: bool) -> None:
    monkeypatch.setattr(os, "environ", {})
    ours = engine_environment(plan(), cpu=cpu)
    assert ours["VLLM_NO_USAGE_STATS"] == ours["DO_NOT_TRACK"] == ours["HF_HUB_OFFLINE"] == "1"
    for name in ours:
        monkeypatch.setattr(os, "environ", {name: ""})
        assert engine_environment(plan(), cpu=cpu).keys() == ours.keys() - {name}


def test_a_model_from_the_hub_may_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    assert "HF_HUB_OFFLINE" not in engine_environment(plan(embedded=False), cpu=False)


@pytest.mark.parametrize(("cores", "bound"), [({1, 0}, "0,1"), (set(range(16)), None)])
def test_a_small_machine_gives_vllm_all_its_cores(monkeypatch: pytest.MonkeyPatch, cores: set[int], bound: str | None) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    assert engine_environment(plan(), cpu=True).get("VLLM_CPU_OMP_THREADS_BIND") == bound
    assert "VLLM_CPU_OMP_THREADS_BIND" not in engine_environment(plan(), cpu=False)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("gpu-7", "http://gpu-7:8000"),
    ],
)
def test_the_url_is_one_that_a_client_here_can_open(host: str, url: str) -> None:
    assert plan(host=host).url == url


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("erpo_server.launch.on_cpu", lambda: True)
    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(EngineError, match="apt-get install libnuma1"):
        check_engine()
