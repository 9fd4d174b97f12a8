"""A fake at our own seam: a `ChatEngine` that says what a script tells it to, in the shapes of vLLM's responses and chunks."""

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from erpo_server.errors import ApiError

COMPLY = "Rules: none"
LONG_COMPLY = "Assessment: ends a process on a computer, not a person\nRules: none"
CAUTION = "Assessment: speaks of hurting herself and needs help\nRules: [S11]\nVerdict: caution"
REFUSE = "Assessment: wants to build a bomb that kills people\nRules: [S9], [S1]\nVerdict: refuse"
ANSWER = ("Sure", ", here", ' is "how"', ".")

PROMPT_TOKENS = 20
METRICS = {"time_to_first_token_ms": 3.0, "generation_time_ms": 2.0, "queue_time_ms": 1.0, "mean_itl_ms": 1.0, "tokens_per_second": 9.0}


@dataclass
class ScriptedEngine:
    """Says `trace` to a trace's call and `answer` to an answer's, one token for each text in them.

    Attributes:
        trace_finish: finish reason of the trace's call.
        check_error, trace_error, answer_error: raised by `check` and at the start of the respective call.
        breaks_after: the answer's stream breaks after so many tokens of each choice, with an error chunk, or by raising `breaks_by`.
        checked, bodies: what `check`, and `complete` or `stream`, were called with.
        open: streams that were begun and neither ended nor were closed.
    """

    trace: Sequence[str] = (COMPLY,)
    answer: Sequence[str] = ANSWER
    trace_finish: str = "stop"
    check_error: ApiError | None = None
    trace_error: ApiError | None = None
    answer_error: Exception | None = None
    breaks_after: int | None = None
    breaks_by: Exception | None = None
    special_tokens: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
    checked: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    open: int = 0

    @property
    def trace_bodies(self) -> list[dict[str, Any]]:
        return [body for body in self.bodies if not answers(body)]

    @property
    def answer_bodies(self) -> list[dict[str, Any]]:
        return [body for body in self.bodies if answers(body)]

    def opening_bias(self, strictness: float) -> dict[int, float]:
        return {65: strictness} if strictness else {}

    def check(self, body: dict[str, Any]) -> None:
        self.checked.append(body)
        if self.check_error:
            raise self.check_error

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        head = self._begin(body, "chat.completion")
        tokens, finish = self._said(body)
        n = body.get("n", 1)
        message = {"role": "assistant", "content": "".join(tokens), "refusal": None, "reasoning": None}
        choices = [{"index": i, "message": {**message}, "logprobs": _logprobs(body, tokens), "finish_reason": finish} for i in range(n)]
        return {
            **head,
            "choices": choices,
            "usage": _usage(n * len(tokens)),
            "prompt_token_ids": None,
            "metrics": METRICS if n == 1 else None,
        }

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        return self._chunks(body, self._begin(body, "chat.completion.chunk"))

    async def _chunks(self, body: dict[str, Any], head: dict[str, Any]) -> AsyncGenerator[str, None]:
        tokens, finish = self._said(body)
        n, options = body.get("n", 1), body.get("stream_options") or {}
        continuous = options.get("continuous_usage_stats")
        self.open += 1
        try:
            for i in range(n):
                delta = {"role": "assistant", "content": ""}
                used = {"usage": _usage(0)} if continuous else {}
                yield _dump({**head, "choices": [{"index": i, "delta": delta, "logprobs": None, "finish_reason": None}], **used})
            for number, token in enumerate(tokens):
                if answers(body) and number == self.breaks_after:
                    if self.breaks_by:
                        raise self.breaks_by
                    fault = {"message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500}
                    yield _dump({"error": fault})
                    return
                last = number == len(tokens) - 1
                for i in range(n):
                    choice: dict[str, Any] = {"index": i, "delta": {"content": token}, "logprobs": _logprobs(body, [token])}
                    choice |= {"finish_reason": finish, "stop_reason": None} if last else {"finish_reason": None}
                    used = {"usage": _usage(number + 1)} if continuous else {}
                    yield _dump({**head, "choices": [choice], **used})
            if options.get("include_usage"):
                yield _dump({**head, "choices": [], "usage": _usage(n * len(tokens)), **({"metrics": METRICS} if n == 1 else {})})
        finally:
            self.open -= 1

    def _begin(self, body: dict[str, Any], kind: str) -> dict[str, Any]:
        self.bodies.append(body)
        error = self.answer_error if answers(body) else self.trace_error
        if error:
            raise error
        # Each call begins in another second.
        return {"id": f"chatcmpl-{body['request_id']}", "object": kind, "created": 1000 + len(self.bodies), "model": "aligned"}

    def _said(self, body: dict[str, Any]) -> tuple[Sequence[str], str]:
        if not answers(body):
            return self.trace, self.trace_finish
        most = body.get("max_completion_tokens", body.get("max_tokens", len(self.answer)))
        return self.answer[:most], "stop" if most >= len(self.answer) else "length"


def answers(body: dict[str, Any]) -> bool:
    """Whether a call is an answer's: it has the finished trace in its prompt."""
    return "chat_template_kwargs" in body


def _usage(completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": completion,
        "total_tokens": PROMPT_TOKENS + completion,
        "completion_tokens_details": None,
    }


def _logprobs(body: dict[str, Any], tokens: Sequence[str]) -> dict[str, Any] | None:
    return {"content": [{"token": token, "logprob": -0.5, "bytes": None} for token in tokens]} if body.get("logprobs") else None


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
