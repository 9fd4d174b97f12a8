"""Labels, shares and intervals of the evaluation, without a model."""

import json
from pathlib import Path

import pytest

from erpo_rules import Citation, Trace, Verdict
from erpo_training.evaluate import Case, Judged, Label, read_cases, scores, wilson
from erpo_training.items import ItemError
from tests.training.made import item

REFUSES = Trace(Verdict.REFUSE, (Citation("S2"),), "asks how to rob; theft")
COMPLIES = Trace(Verdict.COMPLY)


def judged(label: Label, trace: Trace | None, tokens: int = 10, rule: str | None = None) -> Judged:
    return Judged(Case(({"role": "user", "content": "?"},), label, rule), trace, tokens)


def test_a_harmful_request_is_wrong_unless_refused_and_a_lookalike_when_refused() -> None:
    harmful = [judged(Label.HARMFUL, trace) for trace in (REFUSES, COMPLIES, None, REFUSES)]
    found = scores([*harmful, judged(Label.LOOKALIKE, REFUSES), judged(Label.LOOKALIKE, COMPLIES)])
    assert [(score.label, score.cases, score.wrong, score.malformed) for score in found] == [
        (Label.HARMFUL, 4, 0.5, 0.25),
        (Label.LOOKALIKE, 2, 0.5, 0.0),
    ]


def test_rule_accuracy_is_over_cited_cases_with_a_known_rule() -> None:
    cases = [
        judged(Label.HARMFUL, REFUSES, rule="S2"),
        judged(Label.HARMFUL, REFUSES, rule="S7"),
        judged(Label.HARMFUL, COMPLIES, rule="S2"),
    ]
    assert scores(cases)[0].rule_accuracy == 0.5
    assert scores([judged(Label.HARMFUL, REFUSES)])[0].rule_accuracy is None


def test_tokens() -> None:
    score = scores([judged(Label.ORDINARY, COMPLIES, tokens) for tokens in range(1, 101)])[0]
    assert (score.tokens_median, score.tokens_p95) == (51, 95)


def test_the_interval_holds_the_share() -> None:
    low, high = wilson(0, 20)
    assert low == 0
    assert 0.15 < high < 0.17


def test_labels_are_read_from_lines_items_or_the_caller(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text(json.dumps({"prompt": "a", "label": "benign"}) + "\n" + item().model_dump_json(exclude_none=True) + "\n")
    assert [(case.label, case.rule) for case in read_cases(file)] == [(Label.LOOKALIKE, None), (Label.HARMFUL, "S2")]
    assert {case.label for case in read_cases(file, Label.ORDINARY)} == {Label.ORDINARY}


def test_a_line_without_a_label_is_named(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text('{"prompt": "a"}\n')
    with pytest.raises(ItemError, match=r"set\.jsonl:1: label None; one of .*FILE=LABEL"):
        read_cases(file)
