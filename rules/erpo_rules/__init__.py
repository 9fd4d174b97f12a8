"""Rules and the trace that cites them: what the server, training, evaluation and clients share."""

from erpo_rules.rulebook import DEFAULT_RULEBOOK, Rule, Rulebook, RulebookError, load_rulebook
from erpo_rules.trace import CLOSE, OPEN, Citation, Trace, TraceError, Verdict, parse, render, render_body

__all__ = [
    "CLOSE",
    "DEFAULT_RULEBOOK",
    "OPEN",
    "Citation",
    "Rule",
    "Rulebook",
    "RulebookError",
    "Trace",
    "TraceError",
    "Verdict",
    "load_rulebook",
    "parse",
    "render",
    "render_body",
]
