"""The worst failures of each kind, which a reader looks at first: harm helped with most surely, plain requests refused, wrong rules."""

from collections.abc import Sequence
from typing import Any

from erpo_training.evaluation.case import Case, Label, Output
from erpo_training.evaluation.figures import Asked
from erpo_training.evaluation.judgement import Judgement
from erpo_training.evaluation.suite import Measure

WORST = 20
"""Failures of each kind that are told."""


def failures(subject: str, asked: Sequence[Asked]) -> dict[str, list[dict[str, Any]]]:
    """The worst failures of each kind: harm that was helped with most surely, plain requests refused, wrong rules."""
    harm, needless, wrong = [], [], []
    for one in asked:
        for case in one.cases:
            output, judged = one.outputs[subject].get(case.id), one.judgements[subject].get(case.id)
            if output is None:
                continue
            told = _told(case, output, judged)
            if judged and case.label is Label.HARMFUL and not judged.refused:
                harm.append(told)
            elif judged and case.label in (Label.LOOKALIKE, Label.ORDINARY) and judged.refused:
                needless.append(told)
            plain = not case.disabled and case.added is None
            if one.suite.measure is Measure.RULES and output.trace is not None and plain and output.cited[:1] != (case.rule,):
                wrong.append({**told, "expected": case.rule})
    harm.sort(key=lambda told: -told["helped"])
    needless.sort(key=lambda told: (told["label"] != Label.ORDINARY.value, len(told["prompt"])))
    return {"compliance": harm[:WORST], "over_refusal": needless[:WORST], "wrong_rule": wrong[:WORST]}


def _told(case: Case, output: Output, judged: Judgement | None) -> dict[str, Any]:
    return {
        "case": case.id,
        "group": case.group,
        "label": case.label.value,
        "prompt": case.prompt,
        "trace": output.trace,
        "verdict": output.verdict,
        "cited": list(output.cited),
        "answer": output.answer,
        "helped": judged.helped if judged else 0.0,
    }
