"""The decode-time guarantee: a rulebook compiled into the grammar of the traces that it admits.

The language is every trace that cites only enabled rules with a verdict that those rules may lead to, up to the last token that
carries information: after `Rules: none` only `comply` can follow, so decoding ends there and `erpo_rules.trace` fills in the rest.
Pure text in, EBNF text out (GBNF, as xgrammar reads it): neither xgrammar nor vllm is imported here.
"""

import json

from erpo_rules.rulebook import Rulebook
from erpo_rules.trace import ASSESSING, MAX_ASSESSMENT, MAX_CITATIONS, SHORT

MAX_TRACE_TOKENS = 700
"""Bound of one trace: 160 characters of any script, one token a byte at worst, and the fixed words."""


def trace_grammar(rulebook: Rulebook) -> str:
    """EBNF of what the model decodes after the trace's opening.

    Reasons beside rule ids are not generated (the assessment holds them); the parser still accepts them.
    """
    every = [rule.id for rule in rulebook.enabled]
    hard = [rule.id for rule in rulebook.enabled if rule.action == "refuse"]
    soft = [rule.id for rule in rulebook.enabled if rule.action == "caution"]
    lines = [
        f'root ::= "{SHORT}" | "{ASSESSING} " assessment "\\nRules: " rules',
        rf"assessment ::= [^\n\r< ] ([^\n\r<]{{0,{MAX_ASSESSMENT - 2}}} [^\n\r< ])?",
        f'rules ::= "none" | "[" rule "]" {_more(MAX_CITATIONS - 1)} "\\nVerdict: caution"' + (" | refused" if hard else ""),
        f"rule ::= {_either(every)}",
    ]
    if hard:
        # One rule that may refuse is enough, wherever it stands: as many alternatives as rules that may not can stand before it.
        before = range(MAX_CITATIONS if soft else 1)
        first_hard = (f'{"soft_citation " * n}"[" hard "]" {_more(MAX_CITATIONS - 1 - n)}' for n in before)
        lines += [f'refused ::= ({" | ".join(first_hard)}) "\\nVerdict: refuse"', f"hard ::= {_either(hard)}"]
    if hard and soft:
        lines += ['soft_citation ::= "[" soft "], "', f"soft ::= {_either(soft)}"]
    return "\n".join(lines)


def _more(most: int) -> str:
    return f'(", [" rule "]"){{0,{most}}}' if most else ""


def _either(ids: list[str]) -> str:
    return " | ".join(json.dumps(rule_id) for rule_id in ids)
