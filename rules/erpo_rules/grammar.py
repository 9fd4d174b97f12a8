"""The decode-time guarantee: a rulebook and a kind of answer compiled into one xgrammar structural tag.

The tag's language is: a trace that cites only enabled rules, with a verdict that those rules may lead to, then the answer.
A refusal ends the generation right after its trace (the server fills in the rulebook's text) unless the model is to write it.
Pure text in, JSON out: neither xgrammar nor vllm is imported here.
"""

import json
from typing import Any

from erpo_rules.rulebook import Rulebook
from erpo_rules.trace import CLOSE, MAX_ASSESSMENT, MAX_CITATIONS

ANY_TEXT: dict[str, Any] = {"type": "any_text"}


def trace_grammar(rulebook: Rulebook, *, refusing: bool) -> str:
    """EBNF of the body of every trace that refuses (`refusing`), or of every one that goes on to an answer.

    Reasons beside rule ids are not generated (the assessment holds them); the parser still accepts them.
    """
    hard = [rule.id for rule in rulebook.enabled if rule.action == "refuse"]
    every = [rule.id for rule in rulebook.enabled]
    assessment = rf'"Assessment: " [^\n\r< ] [^\n\r<]{{0,{MAX_ASSESSMENT - 2}}} [^\n\r< ]'
    more = f'(", [" rule "]"){{0,{MAX_CITATIONS - 1}}}'
    close = json.dumps(CLOSE)
    lines = [f"rule ::= {_either(every)}"]
    if refusing:
        lines += [
            f'root ::= assessment "\\nRules: [" hard "]" {more} "\\nVerdict: refuse\\n" {close}',
            f"hard ::= {_either(hard)}",
        ]
    else:
        lines += [
            f'root ::= "Rules: none\\n" {close} | assessment (none | caution) {close}',
            'none ::= "\\nRules: none\\nVerdict: comply\\n"',
            f'caution ::= "\\nRules: [" rule "]" {more} "\\nVerdict: caution\\n"',
        ]
    return "\n".join([*lines, f"assessment ::= {assessment}"])


def structural_tag(rulebook: Rulebook, answer: dict[str, Any] = ANY_TEXT, *, model_refuses: bool = False) -> str:
    """The whole output as an xgrammar structural tag (JSON text).

    Args:
        answer: structural-tag format of the answer, e.g. `ANY_TEXT` or `{"type": "json_schema", "json_schema": {…}}`.
        model_refuses: let the model write the refusal instead of ending after the trace.
    """
    answered = {"type": "sequence", "elements": [_grammar(trace_grammar(rulebook, refusing=False)), answer]}
    branches: list[dict[str, Any]] = [answered]
    if any(rule.action == "refuse" for rule in rulebook.enabled):
        refusal = _grammar(trace_grammar(rulebook, refusing=True))
        branches.append({"type": "sequence", "elements": [refusal, ANY_TEXT]} if model_refuses else refusal)
    tag = {"type": "or", "elements": branches} if len(branches) > 1 else answered
    return json.dumps({"type": "structural_tag", "format": tag})


def _grammar(ebnf: str) -> dict[str, Any]:
    return {"type": "grammar", "grammar": ebnf}


def _either(ids: list[str]) -> str:
    return " | ".join(json.dumps(rule_id) for rule_id in ids)
