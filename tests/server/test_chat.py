"""The way of a chat request through trace, verdict and answer, on a scripted engine."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from erpo_rules import Citation, Rulebook, Trace, Verdict, load_rulebook, render_body
from erpo_server.chat import ChatPipeline
from erpo_server.errors import ApiError
from erpo_server.metrics import Metrics
from erpo_server.policy import admit
from tests.server.scripted import ANSWER, CAUTION, COMPLY, LONG_COMPLY, PROMPT_TOKENS, REFUSE, ScriptedEngine

RULEBOOK = load_rulebook("mlcommons")
TEXT = "".join(ANSWER)
MESSAGES = [{"role": "user", "content": "Hello"}]
USAGE = {"include_usage": True}
SCHEMA = {"type": "json_object"}


@dataclass
class Bench:
    """A pipeline over a scripted engine, with a metrics registry of its own."""

    engine: ScriptedEngine
    pipeline: ChatPipeline
    registry: CollectorRegistry

    def complete(self, **body: Any) -> dict[str, Any]:
        ask = admit({"messages": MESSAGES, **body}, {})
        return asyncio.run(self.pipeline.complete(ask, "id-1")).body

    def events(self, **body: Any) -> list[str]:
        async def collect() -> list[str]:
            return [event async for event in await self.open(**body)]

        return asyncio.run(collect())

    async def open(self, **body: Any) -> AsyncGenerator[str, None]:
        return await self.pipeline.stream(admit({"messages": MESSAGES, "stream": True, **body}, {}), "id-1")

    def chunks(self, **body: Any) -> list[dict[str, Any]]:
        return parsed(self.events(**body))

    def sample(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, name
        return value

    def counted(self) -> dict[tuple[str, str], float]:
        """The requests that were counted, by verdict and trace."""
        samples = next(iter(m for m in self.registry.collect() if m.name == "erpo_requests")).samples
        return {(s.labels["verdict"], s.labels["trace"]): s.value for s in samples if s.name.endswith("_total") and s.value}


def bench(
    trace: str | list[str] = COMPLY, rulebook: Rulebook = RULEBOOK, *, model_refuses: bool = False, strictness: float = 0.0, **script: Any
) -> Bench:
    engine = ScriptedEngine([trace] if isinstance(trace, str) else trace, **script)
    registry = CollectorRegistry()
    metrics = Metrics((rule.id for rule in rulebook.rules), registry)
    return Bench(engine, ChatPipeline(engine, rulebook, metrics, model_refuses=model_refuses, strictness=strictness), registry)


def parsed(events: list[str]) -> list[dict[str, Any]]:
    """The chunks of a stream that ended well."""
    assert events[-1] == "data: [DONE]\n\n"
    for event in events:
        assert event.startswith("data: ")
        assert event.endswith("\n\n")
        assert event.count("\n") == 2
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def failed(events: list[str]) -> dict[str, Any]:
    """The error that a stream ended with."""
    assert events[-1] == "data: [DONE]\n\n"
    assert events[-2].startswith("event: error\ndata: ")
    assert not any(event.startswith("event:") for event in events[:-2])
    error: dict[str, Any] = json.loads(events[-2].removeprefix("event: error\ndata: "))["error"]
    return error


def joined(chunks: list[dict[str, Any]], field: str, index: int = 0) -> str:
    return "".join(c["delta"].get(field) or "" for chunk in chunks for c in chunk["choices"] if c["index"] == index)


def finishes(chunks: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(c["index"], c["finish_reason"]) for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]


def split(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


# ---- the verdicts


@pytest.mark.parametrize(
    ("trace", "verdict", "rules"), [(COMPLY, "comply", []), (LONG_COMPLY, "comply", []), (CAUTION, "caution", ["S11"])]
)
def test_a_request_that_is_not_refused_is_answered_behind_its_trace(trace: str, verdict: str, rules: list[str]) -> None:
    b = bench(trace)
    body = b.complete()
    choice = body["choices"][0]
    assert choice["message"]["content"] == TEXT
    assert choice["finish_reason"] == "stop"
    assert choice["erpo"]["verdict"] == verdict
    assert choice["erpo"]["trace"] == "complete"
    assert [citation["rule_id"] for citation in choice["erpo"]["citations"]] == rules
    assert choice["erpo"]["rulebook"] == {"id": RULEBOOK.id, "version": RULEBOOK.version, "sha256": RULEBOOK.sha256}
    assert choice["erpo"]["latency_ms"].keys() == {"queue", "first_token", "reasoning", "answer", "total"}
    first, second = b.engine.bodies
    assert first["structured_outputs"]["grammar"]
    assert second["chat_template_kwargs"]["erpo_trace"].startswith(trace)
    assert second["chat_template_kwargs"]["erpo_trace"].endswith("</think>\n")
    assert first["messages"] == second["messages"] == MESSAGES


def test_strictness_biases_the_trace_alone() -> None:
    b = bench(strictness=0.5)
    b.complete()
    trace, answer = b.engine.bodies
    assert trace["logit_bias"] == {"65": 0.5}
    assert "logit_bias" not in answer
    plain = bench()
    plain.complete()
    assert all("logit_bias" not in body for body in plain.engine.bodies)


def test_a_refusal_is_the_rulebooks_text_and_needs_no_second_call() -> None:
    b = bench(REFUSE)
    body = b.complete()
    choice = body["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": RULEBOOK.rule("S9").refusal, "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert [(c["rule_id"], c["title"]) for c in choice["erpo"]["citations"]] == [(i, RULEBOOK.rule(i).title) for i in ("S9", "S1")]
    chunks = b.chunks()
    assert joined(chunks, "content") == RULEBOOK.rule("S9").refusal
    assert finishes(chunks) == [(0, "stop")]
    assert b.engine.answer_bodies == []


@pytest.mark.parametrize("settings", [{"response_format": SCHEMA}, {"structured_outputs": {"choice": ["a"]}}])
def test_a_client_that_parses_the_answer_finds_a_refusal_in_its_own_field(settings: dict[str, Any]) -> None:
    b = bench(REFUSE)
    message = b.complete(**settings)["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, RULEBOOK.rule("S9").refusal)
    chunks = b.chunks(**settings)
    assert joined(chunks, "refusal") == RULEBOOK.rule("S9").refusal
    assert joined(chunks, "content") == ""


def test_a_plain_response_format_has_its_refusal_in_the_content() -> None:
    assert bench(REFUSE).complete(response_format={"type": "text"})["choices"][0]["message"]["refusal"] is None


def test_the_model_writes_a_refusal_where_the_operator_wants_so() -> None:
    b = bench(REFUSE, model_refuses=True)
    choice = b.complete()["choices"][0]
    assert (choice["message"]["content"], choice["erpo"]["verdict"]) == (TEXT, "refuse")
    chunks = b.chunks()
    assert joined(chunks, "content") == TEXT
    assert [body["chat_template_kwargs"]["erpo_trace"] for body in b.engine.answer_bodies] == [REFUSE + "\n</think>\n"] * 2


@pytest.mark.parametrize("trace", [COMPLY, REFUSE])
def test_each_of_several_choices_has_the_verdict(trace: str) -> None:
    b = bench(trace)
    body = b.complete(n=3, logprobs=True)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert len({json.dumps(choice["erpo"]) for choice in body["choices"]}) == 1
    assert len({choice["message"]["content"] for choice in body["choices"]}) == 1
    chunks = b.chunks(n=3, stream_options=USAGE)
    assert [c["index"] for chunk in chunks for c in chunk["choices"] if c["delta"].get("role")] == [0, 1, 2]
    assert sorted(c["index"] for chunk in chunks for c in chunk["choices"] if "erpo" in c) == [0, 1, 2]
    assert sorted(finishes(chunks)) == [(0, "stop"), (1, "stop"), (2, "stop")]
    assert joined(chunks, "content", 2) == body["choices"][2]["message"]["content"]
    assert all("n" not in body for body in b.engine.trace_bodies)


# ---- what is hidden and what is shown

ASSESSMENT = st.text(st.characters(exclude_characters="\n\r<", exclude_categories=["Cs"]), max_size=40).map(lambda s: f"q\u00e7{s}z\u00e7")
RULES = st.lists(st.sampled_from(["S1", "S2", "S9", "S11"]), unique=True, min_size=1, max_size=3)
TRACES = st.one_of(
    st.just(Trace(Verdict.COMPLY)),
    st.builds(lambda text: Trace(Verdict.COMPLY, (), text), ASSESSMENT),
    st.builds(
        lambda verdict, ids, text: Trace(verdict, tuple(Citation(i) for i in ids), text),
        st.sampled_from([Verdict.CAUTION, Verdict.REFUSE]),
        RULES,
        ASSESSMENT,
    ),
)
CUTS = st.lists(st.integers(min_value=0, max_value=400))
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.just(2),
        "logprobs": st.just(True),
        "stream_options": st.sampled_from([USAGE, {"include_usage": True, "continuous_usage_stats": True}]),
        "response_format": st.just(SCHEMA),
    },
)


def decoded(trace: Trace) -> str:
    """What the grammar lets the engine decode of a trace."""
    return render_body(trace).removesuffix("\n</think>\n").removesuffix("\nVerdict: comply")


@given(TRACES, CUTS, SETTINGS, st.booleans())
def test_hidden_reasoning_is_in_no_byte_that_leaves(trace: Trace, cuts: list[int], settings: dict[str, Any], model_refuses: bool) -> None:
    b = bench(split(decoded(trace), cuts), model_refuses=model_refuses)
    whole = {name: value for name, value in settings.items() if name != "stream_options"}
    out = json.dumps(b.complete(**whole), ensure_ascii=False) + "".join(b.events(**settings))
    for secret in (
        trace.assessment,
        json.dumps(trace.assessment or "")[1:-1],
        "q\u00e7",
        "z\u00e7",
        "Assessment",
        "Rules:",
        "Verdict:",
        "think>",
    ):
        assert not secret or secret not in out


@given(TRACES, CUTS, SETTINGS)
def test_shown_reasoning_streams_to_what_the_response_has(trace: Trace, cuts: list[int], settings: dict[str, Any]) -> None:
    b = bench(split(decoded(trace), cuts))
    whole = {name: value for name, value in settings.items() if name != "stream_options"}
    shown = render_body(trace).removesuffix("\n</think>\n")
    chunks = b.chunks(show_reasoning=True, **settings)
    for choice in b.complete(show_reasoning=True, **whole)["choices"]:
        assert choice["message"]["reasoning"] == choice["message"]["reasoning_content"] == shown
        for name in ("reasoning", "reasoning_content"):
            assert joined(chunks, name, choice["index"]) == shown
        assert joined(chunks, "content", choice["index"]) == (choice["message"]["content"] or "")


def test_a_rule_that_was_cited_twice_is_shown_as_decoded_and_counted_once() -> None:
    trace = REFUSE.replace("[S9], [S1]", "[S9], [S9], [S1]")
    b = bench(split(trace, [5, 30, 70]))
    choice = b.complete(show_reasoning=True)["choices"][0]
    chunks = b.chunks(show_reasoning=True)
    assert joined(chunks, "reasoning") == choice["message"]["reasoning"] == trace
    assert [citation["rule_id"] for citation in choice["erpo"]["citations"]] == ["S9", "S1"]
    assert b.sample("erpo_rule_citations_total", rule_id="S9") == 2


def test_a_citations_reason_is_shown_with_the_reasoning_alone() -> None:
    reason = "wants to build a bomb that kills people"
    for said in (True, False):
        expected = [reason if said else None] * 2
        assert [c["reason"] for c in bench(REFUSE).complete(show_reasoning=said)["choices"][0]["erpo"]["citations"]] == expected
        chunks = bench(REFUSE).chunks(show_reasoning=said, stream_options=USAGE)
        assert [c["reason"] for c in chunks[-1]["erpo"]["citations"]] == expected


def test_shown_reasoning_comes_as_it_is_decoded_and_before_the_answer() -> None:
    chunks = bench(["Assessment: ", "x y", " z\nRules: ", "none"]).chunks(show_reasoning=True)
    fields = [name for chunk in chunks for name in chunk["choices"][0]["delta"] if name in ("reasoning", "content")]
    assert fields == ["content", *["reasoning"] * 5, *["content"] * len(ANSWER)]


# ---- the stream's shape


@pytest.mark.parametrize("trace", [COMPLY, CAUTION, REFUSE])
def test_the_block_rides_on_the_first_answer_chunk_and_on_the_usage_chunk(trace: str) -> None:
    chunks = bench(trace).chunks(stream_options=USAGE, show_reasoning=True)
    holders = [n for n, chunk in enumerate(chunks) if any("erpo" in choice for choice in chunk["choices"])]
    first = next(n for n, chunk in enumerate(chunks) if any(choice["delta"].get("content") for choice in chunk["choices"]))
    assert holders == [first]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["erpo"]["latency_ms"]["total"] >= chunks[first]["choices"][0]["erpo"]["latency_ms"]["reasoning"]
    same = ("schema", "verdict", "citations", "rulebook")
    assert [chunks[-1]["erpo"][name] for name in same] == [chunks[first]["choices"][0]["erpo"][name] for name in same]
    assert [n for n, chunk in enumerate(chunks) if chunk.get("usage")] == [len(chunks) - 1]


@pytest.mark.parametrize("trace", [COMPLY, CAUTION, REFUSE])
def test_nothing_internal_leaves(trace: str) -> None:
    b = bench(trace)
    body = b.complete()
    assert body.keys() <= {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"}
    assert "reasoning" not in body["choices"][0]["message"]
    assert not any("usage" in chunk or "metrics" in chunk for chunk in b.chunks())
    assert not any("metrics" in chunk for chunk in b.chunks(stream_options=USAGE))


@pytest.mark.parametrize("trace", [COMPLY, REFUSE])
def test_all_chunks_have_one_id_one_time_and_one_model(trace: str) -> None:
    for options in (USAGE, {"include_usage": True, "continuous_usage_stats": True}):
        chunks = bench(trace, answer=["one ", '"created":1002 ', "two"]).chunks(stream_options=options)
        heads = {(c["id"], c["created"], c["model"], c["object"]) for c in chunks}
        assert heads == {("chatcmpl-id-1", 1001, "aligned", "chat.completion.chunk")}
        if trace == COMPLY:
            assert joined(chunks, "content") == 'one "created":1002 two'


# ---- usage


@pytest.mark.parametrize(("trace", "answered"), [(["Rules", ":", " none"], len(ANSWER)), (split(REFUSE, [9, 20, 40]), 0)])
@pytest.mark.parametrize("n", [1, 2])
def test_usage_counts_trace_and_answer(trace: list[str], answered: int, n: int) -> None:
    expected = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": len(trace) + n * answered,
        "total_tokens": PROMPT_TOKENS + len(trace) + n * answered,
        "completion_tokens_details": {"reasoning_tokens": len(trace)},
    }
    b = bench(trace)
    assert b.complete(n=n)["usage"] == expected
    assert b.chunks(n=n, stream_options=USAGE)[-1]["usage"] == expected


def test_continuous_usage_counts_up_from_the_trace() -> None:
    chunks = bench(["Rules", ": none"]).chunks(stream_options={"include_usage": True, "continuous_usage_stats": True})
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")]
    assert counts == [3, 4, 5, 6, 6]
    assert {chunk["usage"]["completion_tokens_details"]["reasoning_tokens"] for chunk in chunks if chunk.get("usage")} == {2}


# ---- no way around the trace


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_small_limit_is_the_answers(name: str) -> None:
    b = bench(split(LONG_COMPLY, [3, 8, 20]))
    choice = b.complete(**{name: 1})["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (ANSWER[0], "length")
    chunks = b.chunks(**{name: 1})
    assert joined(chunks, "content") == ANSWER[0]
    assert finishes(chunks) == [(0, "length")]
    assert all(body["max_completion_tokens"] > 100 and "max_tokens" not in body for body in b.engine.trace_bodies)


def test_the_clients_sampling_does_not_reach_the_trace() -> None:
    settings: dict[str, Any] = {
        "temperature": 2.0,
        "stop": ["Verdict"],
        "logit_bias": {"5": 100},
        "bad_words": ["Rules"],
        "min_tokens": 5,
        "logprobs": True,
        "structured_outputs": {"choice": ["Sure"]},
        "response_format": SCHEMA,
        "seed": 7,
        "repetition_penalty": 2.0,
    }
    tools = [{"type": "function", "function": {"name": "f"}}]
    b = bench(CAUTION)
    b.complete(**settings, tools=tools, tool_choice="required")
    b.chunks(**settings, tools=tools, tool_choice="required")
    plain = bench(CAUTION)
    plain.complete(tools=tools)
    plain.chunks(tools=tools)
    assert b.engine.trace_bodies == plain.engine.trace_bodies
    assert {(body["temperature"], body["repetition_penalty"]) for body in b.engine.trace_bodies} == {(0.0, 1.0)}
    delimited = {**settings, "bad_words": ["Rules", "<think>", "</think>"]}
    assert all(body.items() >= delimited.items() and body["tool_choice"] == "required" for body in b.engine.answer_bodies)


def test_the_answers_settings_are_checked_before_the_trace_is_decoded() -> None:
    b = bench(check_error=ApiError("bad stop", param="stop"))
    with pytest.raises(ApiError, match="bad stop"):
        b.complete(stop=5)
    with pytest.raises(ApiError, match="bad stop"):
        b.events(stop=5)
    assert b.engine.bodies == []
    assert [body["stop"] for body in b.engine.checked] == [5, 5]


@pytest.mark.parametrize(
    "trace",
    [
        "",
        "Sure, here is how",
        "Assessment: x\nRules: [S2]",
        "Assessment: x\nRules: [S2]\nVerdict: comply",
        "Assessment: x\nRules: [S2]\nVerdict: ref",
        "Assessment: x\nRules: [S99]\nVerdict: refuse",
    ],
)
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_without_a_complete_trace_there_is_no_answer(trace: str, finish: str) -> None:
    b = bench(trace, trace_finish=finish)
    with pytest.raises(ApiError) as caught:
        b.complete()
    error = failed(b.events())
    assert error["message"] == caught.value.message
    cut = finish == "length" and "S99" not in trace
    assert caught.value.status == (400 if cut else 500)
    assert error["code"] == ("context_length_exceeded" if cut else None)
    assert b.engine.answer_bodies == []
    assert b.counted() == {("none", "incomplete"): 2}


def test_a_disabled_rule_cannot_be_cited() -> None:
    b = bench(REFUSE, RULEBOOK.without("S9"))
    with pytest.raises(ApiError, match="does not admit"):
        b.complete()
    assert b.engine.answer_bodies == []


# ---- errors after the status


@pytest.mark.parametrize("options", [{}, {"stream_options": USAGE}, {"n": 2}])
@pytest.mark.parametrize("after", [0, 2])
def test_an_error_in_the_answer_is_the_last_event(options: dict[str, Any], after: int) -> None:
    b = bench(breaks_after=after)
    events = b.events(**options)
    assert failed(events) == {"message": "Internal server error", "type": "server_error", "param": None, "code": None}
    assert b.counted() == {("comply", "complete"): 1}
    assert b.engine.open == 0


def test_an_answer_that_the_engine_refuses_is_an_error_event() -> None:
    error = failed(bench(answer_error=ApiError("too long", param="messages")).events())
    assert (error["message"], error["type"], error["param"]) == ("too long", "invalid_request_error", "messages")


@pytest.mark.parametrize("script", [{"answer_error": RuntimeError("secret")}, {"breaks_after": 1, "breaks_by": RuntimeError("secret")}])
def test_a_fault_of_ours_is_an_error_event_that_tells_nothing(script: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    b = bench(**script)
    events = b.events()
    assert failed(events)["type"] == "server_error"
    assert "secret" not in "".join(events)
    assert "id-1" in caplog.text
    assert b.sample("erpo_requests_in_flight") == 0


# ---- metrics


ENDINGS: dict[str, tuple[Callable[[], Bench], bool, tuple[str, str]]] = {
    "answered": (bench, False, ("comply", "complete")),
    "answered with care": (lambda: bench(CAUTION), False, ("caution", "complete")),
    "refused": (lambda: bench(REFUSE), False, ("refuse", "complete")),
    "settings refused": (lambda: bench(check_error=ApiError("x")), True, ("none", "incomplete")),
    "trace not begun": (lambda: bench(trace_error=ApiError("x")), True, ("none", "incomplete")),
    "trace malformed": (lambda: bench("x"), True, ("none", "incomplete")),
    "answer not begun": (lambda: bench(answer_error=ApiError("x")), True, ("comply", "complete")),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_is_counted_once_however_it_ends(ending: str, streamed: bool) -> None:
    make, fails, expected = ENDINGS[ending]
    b = make()
    run = b.events if streamed else b.complete
    if fails:
        with suppress(ApiError):
            failed(run())  # type: ignore[arg-type]
    else:
        run()
    assert b.counted() == {expected: 1}
    assert b.sample("erpo_requests_in_flight") == 0
    assert b.sample("erpo_request_duration_seconds_count") == 1
    reasoned = float(expected[1] == "complete")
    for name in ("erpo_time_to_verdict_seconds", "erpo_reasoning_seconds", "erpo_reasoning_tokens"):
        assert b.sample(f"{name}_count") == reasoned
    assert b.sample("erpo_time_to_first_answer_token_seconds_count") == float(not fails)
    assert b.sample("erpo_rule_citations_total", rule_id="S9") == float(ending == "refused")


@pytest.mark.parametrize("read", range(1, 9))
@pytest.mark.parametrize("shown", [False, True])
def test_a_client_that_stops_reading_stops_the_engine(read: int, shown: bool) -> None:
    b = bench(split(LONG_COMPLY, [4, 9, 30]))

    async def leave() -> None:
        events = await b.open(show_reasoning=shown)
        for _ in range(read if shown else min(read, 5)):
            await anext(events)
        assert b.sample("erpo_requests_in_flight") == 1
        await events.aclose()
        assert b.engine.open == 0

    asyncio.run(leave())
    assert b.sample("erpo_requests_in_flight") == 0
    assert sum(b.counted().values()) == 1


def test_a_cancelled_request_is_counted_and_no_longer_in_flight() -> None:
    b = bench()

    async def never(body: dict[str, Any]) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    b.engine.complete = never  # type: ignore[method-assign]

    async def cancel(work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        await asyncio.sleep(0)
        assert b.sample("erpo_requests_in_flight") == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel(b.pipeline.complete(admit({"messages": MESSAGES}, {}), "id-1")))
    assert b.sample("erpo_requests_in_flight") == 0
    assert b.counted() == {("none", "incomplete"): 1}


def test_warming_up_is_not_counted() -> None:
    b = bench()
    asyncio.run(b.pipeline.warm_up())
    assert len(b.engine.trace_bodies) == 1
    assert b.counted() == {}
