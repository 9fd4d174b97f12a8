"""What leaves the server: the `erpo` block, usage that counts the trace, refusals in the form that the client asked for.

Pure: values in, JSON-ready values out.
"""

from dataclasses import dataclass
from typing import Any

from erpo_rules import Rulebook, Trace, Verdict, render_body
from erpo_rules.trace import CLOSE

SCHEMA = 1
"""Version of the `erpo` block."""


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A request's finished trace and what it took.

    Attributes:
        decoded: the trace as the engine wrote it.
        prompt_tokens: length of the request's own prompt, the trace's opening included.
        tokens: tokens decoded for the trace.
        queue_ms, first_token_ms: the engine's waiting time, and arrival to the first decoded token; `None` if not measured.
        verdict_ms: arrival to verdict.
    """

    trace: Trace
    decoded: str
    prompt_tokens: int
    tokens: int
    verdict_ms: float
    queue_ms: float | None = None
    first_token_ms: float | None = None

    @property
    def body(self) -> str:
        """The trace as the answer's prompt continues with it."""
        return render_body(self.trace)

    @property
    def shown(self) -> str:
        """The trace as a client reads it, without delimiters: what was decoded, and the end that goes without saying."""
        whole = self.body.removesuffix("\n" + CLOSE)
        return whole if whole.startswith(self.decoded) else self.decoded  # `Trace` drops a rule that was cited again


def erpo_block(reasoned: Reasoned, rulebook: Rulebook, *, shown: bool, total_ms: float | None = None) -> dict[str, Any]:
    """The `erpo` field of a choice.

    Args:
        shown: whether the client sees the trace: a citation's reason is a part of it.
        total_ms: arrival to end; `None` while the answer is still being written, and its latency is then left out.
    """
    trace = reasoned.trace
    latency = {
        "queue": reasoned.queue_ms,
        "first_token": reasoned.first_token_ms,
        "reasoning": reasoned.verdict_ms,
        "answer": None if total_ms is None else total_ms - reasoned.verdict_ms,
        "total": total_ms,
    }
    return {
        "schema": SCHEMA,
        "verdict": trace.verdict.value,
        "trace": "complete",
        "citations": [
            {
                "rule_id": citation.rule_id,
                "title": rulebook.rule(citation.rule_id).title,
                "reason": (citation.reason or trace.assessment) if shown else None,
            }
            for citation in trace.citations
        ],
        "rulebook": {"id": rulebook.id, "version": rulebook.version, "sha256": rulebook.sha256},
        "latency_ms": {name: round(ms, 2) for name, ms in latency.items() if ms is not None},
    }


def usage(reasoned: Reasoned, answer_tokens: int) -> dict[str, Any]:
    """Usage of a whole request: the trace's decoded tokens count as completion and are named as reasoning."""
    completion = reasoned.tokens + answer_tokens
    return {
        "prompt_tokens": reasoned.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": reasoned.prompt_tokens + completion,
        "completion_tokens_details": {"reasoning_tokens": reasoned.tokens},
    }


def reasoning_fields(text: str) -> dict[str, str]:
    """Reasoning under both names that clients know."""
    return {"reasoning": text, "reasoning_content": text}


def refusal_fields(text: str, *, structured: bool) -> dict[str, Any]:
    """A refusal as message or delta: in `content`, or in `refusal` where the client parses `content` by a schema."""
    return {"content": None, "refusal": text} if structured else {"content": text}


def refuses(reasoned: Reasoned) -> bool:
    """Whether the verdict is `refuse`."""
    return reasoned.trace.verdict is Verdict.REFUSE
