"""The ex-ante reasoning trace: its value, its one text form, and the parser that accepts nothing else.

A trace is what the model writes between `<think>` and `</think>` before it answers. It has three fields (after SAFER,
arXiv 2504.02725v2 §3: initial assessment, rule verification, path calibration)::

    <think>
    Assessment: asks how to break into a neighbour's house; burglary, someone is robbed
    Rules: [S2]
    Verdict: refuse
    </think>

and a short form for requests in which nothing is in question::

    <think>
    Rules: none
    </think>

Training writes this form, the decode-time grammar (`erpo_rules.grammar`) allows exactly this language, the server parses it and
evaluation reads it. This module knows neither the rulebook (which ids exist) nor the model (tokens).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

OPEN = "<think>\n"
"""Opening delimiter. It ends the chat template's generation prompt, so the model never decodes it."""

CLOSE = "</think>\n"
"""Closing delimiter; the answer starts at the next character."""

SHORT = "Rules: none"
"""The whole of what the model decodes of the short form."""

ASSESSING = "Assessment:"
"""What every other trace begins with."""

MAX_ASSESSMENT = 160
"""Longest assessment in characters."""

MAX_REASON = 60
"""Longest reason beside a cited rule id, in characters."""

MAX_CITATIONS = 3
"""Most rules one trace may cite."""


class Verdict(StrEnum):
    """What follows from the trace."""

    COMPLY = "comply"
    """Answer as the base model would."""
    CAUTION = "caution"
    """Answer safely: support, general information, a referral."""
    REFUSE = "refuse"
    """Do not answer; say so kindly and offer a safe alternative."""


class TraceError(ValueError):
    """The text is not a well-formed trace; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Citation:
    """One cited rule, with the model's own few words on why (`None` when the assessment says it all)."""

    rule_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """A well-formed trace. Cites nothing exactly when the verdict is `comply`; raises `TraceError` otherwise."""

    verdict: Verdict
    citations: tuple[Citation, ...] = ()
    assessment: str | None = None

    def __post_init__(self) -> None:
        if bool(self.citations) == (self.verdict is Verdict.COMPLY):
            raise TraceError(
                f"verdict {self.verdict.value!r} with {len(self.citations)} cited rules: "
                "'comply' cites none, 'caution' and 'refuse' cite at least one"
            )
        if self.citations and self.assessment is None:
            raise TraceError(f"verdict {self.verdict.value!r} needs an assessment; only 'comply' has a short form")
        if len(self.citations) > MAX_CITATIONS:
            raise TraceError(f"{len(self.citations)} citations; at most {MAX_CITATIONS}")
        if len({citation.rule_id for citation in self.citations}) < len(self.citations):
            raise TraceError(f"a rule is cited twice in {[c.rule_id for c in self.citations]}")
        _check_text("assessment", self.assessment, MAX_ASSESSMENT)
        for citation in self.citations:
            if not re.fullmatch(_RULE_ID, citation.rule_id):
                raise TraceError(f"rule id {citation.rule_id!r}: letters, digits, '.', '_' and '-' only")
            _check_text("reason", citation.reason, MAX_REASON, forbidden=_IN_REASON)


_RULE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"
_IN_TEXT = "\n\r<"
_IN_REASON = "\n\r<,[]"
_DECIDED = re.compile(r"^(?:Rules|Verdict): ?(.+)$", re.MULTILINE)
_CITATION = re.compile(rf"\[({_RULE_ID})\](?: ([^\n\r<,\[\]]+))?")


def _check_text(name: str, text: str | None, limit: int, forbidden: str = _IN_TEXT) -> None:
    if text is None:
        return
    if not text or text != text.strip(" ") or len(text) > limit:
        raise TraceError(f"{name} {text!r}: 1 to {limit} characters, no space at either end")
    if found := next((c for c in text if c in forbidden), None):
        raise TraceError(f"{name} {text!r} holds {found!r}")


def render_body(trace: Trace) -> str:
    """The trace as the model decodes it: everything after `OPEN`, `CLOSE` included."""
    if trace.assessment is None:
        return f"{SHORT}\n{CLOSE}"
    rules = ", ".join(f"[{c.rule_id}]" + (f" {c.reason}" if c.reason else "") for c in trace.citations) or "none"
    return f"{ASSESSING} {trace.assessment}\nRules: {rules}\nVerdict: {trace.verdict.value}\n{CLOSE}"


def render(trace: Trace) -> str:
    """The whole text form, both delimiters included."""
    return OPEN + render_body(trace)


def decoded_body(trace: Trace) -> str:
    """The part of `render_body` that the model decodes: up to the last token that carries information. The rest follows from it."""
    return render_body(trace).removesuffix(f"\n{CLOSE}").removesuffix("\nVerdict: comply")


def opening(trace: Trace) -> str:
    """The first words of `decoded_body`: whether there is something to assess."""
    return SHORT if trace.assessment is None else ASSESSING


def deciding(body: str) -> tuple[tuple[int, int], ...]:
    """Where a trace's text decides, as spans of characters: how it begins, which rules it cites, its verdict. The rest is wording."""
    fields = ((match.start(1), match.end(1)) for match in _DECIDED.finditer(body))
    return ((0, 1), *fields) if body else ()


def parse_body(body: str) -> Trace:
    """Parse what stands between the delimiters. A rule cited again is one citation: the grammar cannot count.

    The verdict may be missing after `Rules: none`, where only `comply` can follow: the decode-time grammar stops there, and
    the rest of the text form is not decoded token by token.

    Raises:
        TraceError: on anything that is neither `render_body`'s text nor its beginning as described.
    """
    lines = body.removesuffix("\n").split("\n")
    if lines == [SHORT]:
        return Trace(Verdict.COMPLY)
    if lines[1:] == [SHORT]:
        lines.append("Verdict: comply")
    if len(lines) != 3:
        raise TraceError(f"{len(lines)} lines; a trace has three, 'Assessment:', 'Rules:' and 'Verdict:', or 'Rules: none' alone")
    assessment, rules, verdict = (_field(line, name) for line, name in zip(lines, ("Assessment", "Rules", "Verdict"), strict=True))
    if verdict not in set(Verdict):
        raise TraceError(f"verdict {verdict!r}: one of {', '.join(Verdict)}")
    citations: dict[str, Citation] = {}
    for part in rules.split(", ") if rules != "none" else ():
        citation = _citation(part)
        citations.setdefault(citation.rule_id, citation)
    return Trace(Verdict(verdict), tuple(citations.values()), assessment)


def parse(text: str) -> tuple[Trace, str]:
    """Split a whole model output into its trace and its answer; the leading `OPEN` may be absent (it is in the prompt).

    Raises:
        TraceError: when there is no complete, well-formed trace. There is then no answer either.
    """
    body, close, answer = text.removeprefix(OPEN).partition(CLOSE)
    if not close:
        raise TraceError(f"no closing {CLOSE.strip()!r}")
    return parse_body(body), answer


def _field(line: str, name: str) -> str:
    if not line.startswith(f"{name}: "):
        raise TraceError(f"line {line!r}: expected {name + ': …'!r}")
    return line.removeprefix(f"{name}: ")


def _citation(text: str) -> Citation:
    if not (match := _CITATION.fullmatch(text)):
        raise TraceError(f"citation {text!r}: expected '[RULE]' or '[RULE] reason'")
    return Citation(match[1], match[2])
