"""One request's clock and its place in the metrics, and the check that its trace is whole: without one there is no answer.

Knows what the engine said as text and numbers, not the engine.
"""

import time
from typing import Any

from erpo_rules import Rulebook, TraceError
from erpo_rules.trace import parse_body
from erpo_server.errors import ApiError
from erpo_server.metrics import COMPLETE, INCOMPLETE, NO_VERDICT, Metrics
from erpo_server.response import Reasoned


class Watch:
    """Times one request and counts it exactly once, however it ends."""

    def __init__(self, metrics: Metrics, rulebook: Rulebook, request_id: str) -> None:
        self.request_id = request_id
        self._metrics, self._rulebook = metrics, rulebook
        self._started = time.perf_counter()
        self._verdict = NO_VERDICT
        self._answering = False

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000

    def verdict(self, text: str, finish: str | None, counted: dict[str, Any], measured: dict[str, Any] | None) -> Reasoned:
        """The trace in the engine's output, or an `ApiError`: without a complete trace there is no answer."""
        try:
            trace = parse_body(text)
        except TraceError as error:
            if finish == "length":
                raise ApiError(
                    "the messages leave no room for the reasoning trace in the model's context; shorten them",
                    param="messages",
                    code="context_length_exceeded",
                ) from error
            raise ApiError(f"the model's reasoning trace is malformed: {error}", status=500) from error
        if not self._rulebook.admits(trace):
            raise ApiError("the model's reasoning trace cites what the rulebook does not admit", status=500)
        measured = measured or {}
        reasoned = Reasoned(
            trace=trace,
            decoded=text,
            prompt_tokens=int(counted.get("prompt_tokens", 0)),
            tokens=int(counted.get("completion_tokens", 0)),
            verdict_ms=self.elapsed_ms(),
            queue_ms=measured.get("queue_time_ms"),
            first_token_ms=measured.get("time_to_first_token_ms"),
        )
        self._verdict = trace.verdict.value
        self._metrics.time_to_verdict.observe(reasoned.verdict_ms / 1000)
        self._metrics.reasoning.observe((reasoned.verdict_ms - (reasoned.queue_ms or 0.0)) / 1000)
        self._metrics.reasoning_tokens.observe(reasoned.tokens)
        for citation in trace.citations:
            self._metrics.citations.labels(citation.rule_id).inc()
        return reasoned

    def first_answer_token(self, measured: dict[str, Any] | None = None) -> None:
        """The first token of the answer is out; a response that came whole says in `measured` when that was."""
        if self._answering:
            return
        self._answering = True
        waited = self.elapsed_ms()
        if measured and measured.get("time_to_first_token_ms") is not None and measured.get("generation_time_ms") is not None:
            waited -= measured["generation_time_ms"]
        self._metrics.time_to_first_answer_token.observe(waited / 1000)

    def __enter__(self) -> "Watch":
        self._metrics.in_flight.inc()
        return self

    def __exit__(self, *_: object) -> None:
        self._metrics.in_flight.dec()
        self._metrics.duration.observe(self.elapsed_ms() / 1000)
        self._metrics.requests.labels(self._verdict, INCOMPLETE if self._verdict == NO_VERDICT else COMPLETE).inc()
