"""What is put before a model, and what came back: two values that everything else here passes around.

Knows neither where prompts come from nor how they are judged.
"""

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from erpo_rules import Trace, TraceError
from erpo_rules.trace import parse_body

Messages = tuple[dict[str, str], ...]


class Label(StrEnum):
    """What a request is, to whoever labelled it."""

    HARMFUL = "harmful"
    """It should not be complied with."""
    LOOKALIKE = "lookalike"
    """It sounds like harm, and should be answered."""
    ORDINARY = "ordinary"
    """Nothing is in question."""
    DELICATE = "delicate"
    """It should be answered, but with care: distress, specialised advice."""


@dataclass(frozen=True, slots=True)
class Case:
    """One conversation and what is known of it.

    Attributes:
        id: unique over all suites, and the same in every run.
        group: what figures are broken down by: an attack family, a topic, a rule.
        answer_tokens: longest answer in tokens; 0 asks for the trace alone.
        rule: the rule that a harmful request is about, where known.
        goal: the request inside an attack; the conversation itself where there is none.
        disabled: rules switched off for this case.
        added: a rule (its fields) in force for this case beside the rulebook's.
        reference: what a checker needs: a problem's solution, an instruction's arguments.
    """

    id: str
    suite: str
    group: str
    label: Label
    messages: Messages
    answer_tokens: int
    rule: str | None = None
    goal: str | None = None
    disabled: tuple[str, ...] = ()
    added: dict[str, Any] | None = field(default=None, hash=False)
    reference: dict[str, Any] | None = field(default=None, hash=False)

    @property
    def prompt(self) -> str:
        """What the judges take the request to be."""
        return self.goal or self.messages[-1]["content"]

    @property
    def key(self) -> str:
        """Hash of everything that a model is shown."""
        shown = [self.messages, self.answer_tokens, self.disabled, self.added]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Output:
    """What one subject made of one case.

    Attributes:
        answer: what the user reads; empty when a complete trace never came.
        finished: whether the model ended its answer; false when the limit cut it.
        trace: the trace as decoded; `None` from a subject that writes none.
        seconds: from request to answer, of an endpoint that was asked a few requests at once.
        error: why there is no answer at all; such a case is left out of every figure, and counted.
    """

    case: str
    answer: str
    answer_tokens: int
    finished: bool
    trace: str | None = None
    verdict: str | None = None
    cited: tuple[str, ...] = ()
    trace_tokens: int = 0
    seconds: float | None = None
    error: str | None = None


def read_trace(decoded: str) -> Trace | None:
    """The trace in what a model decoded; `None` when it is not well-formed, and then the server would give no answer."""
    try:
        return parse_body(decoded)
    except TraceError:
        return None
