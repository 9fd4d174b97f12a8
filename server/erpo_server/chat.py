"""The whole way of a chat request, readable here: policy → trace → verdict → answer → response.

Two engine calls serve one request. The first decodes the trace greedily under the rulebook's grammar and stops as soon as the
verdict is known; the second decodes the answer, with the finished trace in its prompt, under the client's own settings. A refusal
needs no second call. So nothing that a client sends can bias, cut or reach into the trace, and the trace is in no output of
the answer's call: what is hidden cannot leak. The second call's prefill comes from the prefix cache.

Knows the engine by its protocol alone.
"""

import json
import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from erpo_rules import Rulebook
from erpo_rules.grammar import MAX_TRACE_TOKENS, trace_grammar
from erpo_rules.trace import CLOSE, OPEN
from erpo_server.engine import ChatEngine
from erpo_server.errors import ApiError
from erpo_server.metrics import Metrics
from erpo_server.policy import Ask
from erpo_server.response import Reasoned, erpo_block, reasoning_fields, refusal_fields, refuses, usage
from erpo_server.watch import Watch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished, non-streamed response."""

    body: dict[str, Any]
    verdict: str


class ChatPipeline:
    """Serves chat requests under one rulebook.

    Args:
        model_refuses: let the model write refusals instead of the rulebook.
        strictness: how readily requests are assessed (`erpo_rules.strictness`).

    Raises:
        StrictnessError: not with this model's tokenizer.
    """

    def __init__(
        self, engine: ChatEngine, rulebook: Rulebook, metrics: Metrics, *, model_refuses: bool = False, strictness: float = 0.0
    ) -> None:
        self.engine = engine
        self.rulebook = rulebook
        self.metrics = metrics
        self.model_refuses = model_refuses
        self._grammar = trace_grammar(rulebook)
        self._bias = {str(token): bias for token, bias in engine.opening_bias(strictness).items()}

    async def warm_up(self) -> None:
        """Run one request through, so that the grammar is compiled and the first user does not wait for it."""
        ask = Ask(prompt={"messages": [{"role": "user", "content": "Hello"}]}, answer={})
        await self.engine.complete(self._trace_body(ask, new_request_id(), stream=False))

    async def complete(self, ask: Ask, request_id: str) -> Reply:
        """Serve a request that is not streamed. Raises `ApiError`."""
        with self._watched(request_id) as watch:
            self.engine.check(self._answer_body(ask, None, request_id))
            response = await self.engine.complete(self._trace_body(ask, request_id, stream=False))
            text = response["choices"][0]["message"]["content"] or ""
            reasoned = watch.verdict(text, response["choices"][0]["finish_reason"], response["usage"], response.get("metrics"))
            if refuses(reasoned) and not self.model_refuses:
                body = self._refusal_response(ask, reasoned, response)
                watch.first_answer_token()
            else:
                body = await self.engine.complete(self._answer_body(ask, reasoned, request_id))
                watch.first_answer_token(body.get("metrics"))
            return Reply(self._dress(ask, reasoned, body, watch.elapsed_ms()), reasoned.trace.verdict.value)

    async def stream(self, ask: Ask, request_id: str) -> AsyncGenerator[str, None]:
        """Start a streamed request: validates it, then returns its server-sent events. Raises `ApiError` before the first.

        Whoever stops reading the events before their end closes them (`aclose`): that stops the engine.
        """
        watch = self._watched(request_id)
        try:
            self.engine.check(self._answer_body(ask, None, request_id))
            chunks = await self.engine.stream(self._trace_body(ask, request_id, stream=True))
        except BaseException:
            with watch:  # ended before it began, and counted like any other
                raise
        return self._events(ask, watch, chunks)

    async def _events(self, ask: Ask, watch: Watch, chunks: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        with watch:
            try:
                text, finish, measured = "", None, None
                head: dict[str, Any] = {}
                counted: dict[str, Any] = {}
                async with aclosing(chunks):
                    async for data in chunks:
                        chunk = _chunk(data)
                        if not head:
                            head = {k: chunk[k] for k in ("id", "object", "created", "model")}
                            for event in _to_all(ask, head, {"role": "assistant", "content": ""}):
                                yield event
                        counted, measured = chunk.get("usage") or counted, chunk.get("metrics") or measured
                        for choice in chunk["choices"]:
                            finish = choice.get("finish_reason") or finish
                            delta = choice["delta"].get("content") or ""
                            text += delta
                            if delta and ask.show_reasoning:
                                for event in _to_all(ask, head, reasoning_fields(delta)):
                                    yield event
                reasoned = watch.verdict(text, finish, counted, measured)
                if ask.show_reasoning and (rest := reasoned.shown.removeprefix(text)):
                    for event in _to_all(ask, head, reasoning_fields(rest)):
                        yield event
                if refuses(reasoned) and not self.model_refuses:
                    watch.first_answer_token()
                    for event in self._refusal_events(ask, reasoned, head, watch):
                        yield event
                else:
                    answer = await self.engine.stream(self._answer_body(ask, reasoned, watch.request_id))
                    async with aclosing(answer), aclosing(self._answer_events(ask, reasoned, head, watch, answer)) as events:
                        async for event in events:
                            yield event
            except ApiError as error:
                yield _error_event(error)
            except Exception:  # the status is out already: what breaks now is told in the stream or not at all
                _log.exception("request %s failed", watch.request_id)
                yield _error_event(ApiError("the server failed while it answered", status=500))
            yield "data: [DONE]\n\n"

    async def _answer_events(
        self, ask: Ask, reasoned: Reasoned, head: dict[str, Any], watch: Watch, chunks: AsyncGenerator[str, None]
    ) -> AsyncGenerator[str, None]:
        """The answer's chunks; most pass through as they are."""
        waiting = set(range(ask.choices))
        later, created = "", f'"created":{head["created"]}'  # a stream has one time of creation; the second call may begin a second later
        async for data in chunks:
            if not waiting and '"usage"' not in data and '"error"' not in data:
                yield f"data: {data.replace(later, created, 1)}\n\n"
                continue
            chunk = _chunk(data)
            later = f'"created":{chunk["created"]}'
            chunk["created"] = head["created"]
            chunk.pop("metrics", None)
            if chunk.get("usage"):
                chunk["usage"] = usage(reasoned, chunk["usage"]["completion_tokens"])
            if not chunk["choices"]:
                if ask.usage_chunk:
                    chunk["erpo"] = erpo_block(reasoned, self.rulebook, shown=ask.show_reasoning, total_ms=watch.elapsed_ms())
                    yield f"data: {_dump(chunk)}\n\n"
                continue
            if all(choice["delta"].keys() == {"role", "content"} and not choice["delta"]["content"] for choice in chunk["choices"]):
                continue  # the role went out before the trace
            for choice in chunk["choices"]:
                if choice["index"] in waiting:
                    waiting.discard(choice["index"])
                    watch.first_answer_token()
                    choice["erpo"] = erpo_block(reasoned, self.rulebook, shown=ask.show_reasoning)
            yield f"data: {_dump(chunk)}\n\n"

    def _refusal_events(self, ask: Ask, reasoned: Reasoned, head: dict[str, Any], watch: Watch) -> list[str]:
        refusal = refusal_fields(self.rulebook.refusal(reasoned.trace.citations), structured=ask.structured)
        block = erpo_block(reasoned, self.rulebook, shown=ask.show_reasoning, total_ms=watch.elapsed_ms())
        events = [
            *_to_all(ask, head, refusal, erpo=block),
            *_to_all(ask, head, {}, finish_reason="stop"),
        ]
        if ask.usage_chunk:
            events.append(f"data: {_dump({**head, 'choices': [], 'usage': usage(reasoned, 0), 'erpo': block})}\n\n")
        return events

    def _refusal_response(self, ask: Ask, reasoned: Reasoned, traced: dict[str, Any]) -> dict[str, Any]:
        refusal = refusal_fields(self.rulebook.refusal(reasoned.trace.citations), structured=ask.structured)
        logprobs: dict[str, Any] | None = {"content": []} if ask.answer.get("logprobs") else None
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "refusal": None, **refusal},
                "logprobs": logprobs,
                "finish_reason": "stop",
            }
            for i in range(ask.choices)
        ]
        return {**{k: traced[k] for k in ("id", "object", "created", "model")}, "choices": choices, "usage": {"completion_tokens": 0}}

    def _dress(self, ask: Ask, reasoned: Reasoned, body: dict[str, Any], total_ms: float) -> dict[str, Any]:
        """The answer's response with everything that is ours put on and everything that is internal taken off."""
        block = erpo_block(reasoned, self.rulebook, shown=ask.show_reasoning, total_ms=total_ms)
        for choice in body["choices"]:
            message = choice["message"]
            message.pop("reasoning", None)
            if ask.show_reasoning:
                message.update(reasoning_fields(reasoned.shown))
            choice["erpo"] = block
        kept = {k: body[k] for k in ("id", "object", "created", "model", "choices", "system_fingerprint") if body.get(k) is not None}
        return {**kept, "usage": usage(reasoned, body["usage"]["completion_tokens"])}

    def _trace_body(self, ask: Ask, request_id: str, *, stream: bool) -> dict[str, Any]:
        body = {
            **ask.prompt,
            "request_id": request_id,
            "temperature": 0.0,
            "repetition_penalty": 1.0,  # a model's generation_config.json often has another, which would bias the trace
            "max_completion_tokens": MAX_TRACE_TOKENS,
            "structured_outputs": {"grammar": self._grammar},
            **({"logit_bias": self._bias} if self._bias else {}),
            "tool_choice": "none",
        }
        return {**body, "stream": True, "stream_options": {"include_usage": True}} if stream else body

    def _answer_body(self, ask: Ask, reasoned: Reasoned | None, request_id: str) -> dict[str, Any]:
        body = {**ask.prompt, **ask.answer, "request_id": request_id}
        # The model was taught to close a trace: left to itself, at a high temperature, it now and then closes one more in its answer.
        body["bad_words"] = [*(ask.answer.get("bad_words") or ()), OPEN.strip(), CLOSE.strip()]
        if reasoned is not None:
            body["chat_template_kwargs"] = {"erpo_trace": reasoned.body}
        if ask.stream:
            body["stream_options"] = {**(ask.answer.get("stream_options") or {}), "include_usage": True}
        return body

    def _watched(self, request_id: str) -> Watch:
        return Watch(self.metrics, self.rulebook, request_id)


def new_request_id() -> str:
    """An id for a request that came without one."""
    return uuid.uuid4().hex


def _chunk(data: str) -> dict[str, Any]:
    """A chunk of the engine's stream. Raises `ApiError` where the engine reports an error in it."""
    chunk: dict[str, Any] = json.loads(data)
    if error := chunk.get("error"):
        raise ApiError(error["message"], status=int(error.get("code") or 500), param=error.get("param"))
    return chunk


def _error_event(error: ApiError) -> str:
    return f"event: error\ndata: {_dump(error.body())}\n\n"


def _to_all(ask: Ask, head: dict[str, Any], delta: dict[str, Any], **fields: Any) -> list[str]:
    """One event a choice, as OpenAI sends them."""
    choices = ({"index": i, "delta": delta, "logprobs": None, "finish_reason": None, **fields} for i in range(ask.choices))
    return [f"data: {_dump({**head, 'choices': [choice]})}\n\n" for choice in choices]


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
