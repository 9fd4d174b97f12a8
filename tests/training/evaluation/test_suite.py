"""Every shipped suite is sound, and a faulty one says in one line a fault what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from erpo_training.evaluation.sets import prompt_sets
from erpo_training.evaluation.suite import Measure, Suite, SuiteError, load_suite, shipped_suites

PART = {"set": "ordinary", "label": "ordinary"}
SUITE = {"name": "mine", "title": "Mine", "question": "Is it?", "measure": "usefulness", "parts": [PART]}


def write(folder: Path, **changes: Any) -> str:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in (SUITE | changes).items() if value is not None}), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("name", shipped_suites())
def test_a_shipped_suite_is_named_like_its_file_and_asks_one_question(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.question.endswith("?")
    assert suite.title


def test_suites_come_in_the_order_of_the_report() -> None:
    assert shipped_suites() == ("harmful", "attacked", "lookalike", "ordinary", "ifeval", "gsm8k", "rules", "care", "cost")


def test_every_measure_has_a_shipped_suite_and_every_set_is_drawn_on() -> None:
    suites = [load_suite(name) for name in shipped_suites()]
    assert {suite.measure for suite in suites} == set(Measure)
    drawn = {part.set for suite in suites for part in suite.parts} | {"jailbreak_templates"}  # what 'attack: wild' draws on
    assert drawn >= set(prompt_sets())


def test_what_is_judged_is_answered_and_what_is_not_is_not() -> None:
    for name in shipped_suites():
        suite = load_suite(name)
        assert (suite.answer_tokens == 0) is (suite.measure in (Measure.RULES, Measure.CARE)), name


def test_any_yaml_file_is_a_suite(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, parts=[{"set": "../sets/mine.jsonl", "only": {"label": "x"}, "sample": 3}]))
    assert (suite.name, suite.measure, suite.answer_tokens) == ("mine", Measure.USEFULNESS, 128)
    assert suite.parts[0].label is None
    assert suite.parts[0].only == {"label": "x"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"title": None}, "key 'title': Field required"),
        ({"name": "My suite"}, "key 'name': "),
        ({"name": "../mine"}, "(got '../mine')"),
        ({"measure": "harm"}, "key 'measure': Input should be 'compliance', "),
        ({"answer_tokens": -1}, "key 'answer_tokens': Input should be greater than or equal to 0 (got -1)"),
        ({"parts": []}, "key 'suite': no parts: a suite needs at least one"),
        ({"part": PART}, "key 'part': Extra inputs are not permitted"),
        ({"parts": [PART, PART | {"samples": 3}]}, "key 'parts.1.samples': Extra inputs are not permitted (got 3)"),
        ({"parts": [PART, PART | {"sample": 0}]}, "key 'parts.1.sample': Input should be greater than or equal to 1 (got 0)"),
        (
            {"parts": [PART, PART | {"label": "bad"}]},
            "key 'parts.1.label': Input should be 'harmful', 'lookalike', 'ordinary' or 'delicate'",
        ),
        ({"parts": [PART, PART | {"attack": "all"}]}, "key 'parts.1.attack': "),
        ({"parts": [PART, PART | {"change": "remove"}]}, "key 'parts.1.change': "),
        ({"parts": [PART, {"set": "jbb"}]}, "key 'parts.1': no set 'jbb'; known: jbb_harmful, "),
    ],
)
def test_a_fault_names_file_key_and_what_is_wrong(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    file = write(tmp_path, **changes)
    with pytest.raises(SuiteError) as raised:
        load_suite(file)
    assert str(raised.value).startswith(f"suite {file!r}: key ")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_each_fault_is_a_line(tmp_path: Path) -> None:
    file = write(tmp_path, title=None, measure="harm")
    with pytest.raises(SuiteError) as raised:
        load_suite(file)
    assert len(str(raised.value).split("\n")) == 2


def test_the_only_part_at_fault_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as raised:
        load_suite(write(tmp_path, parts=[PART | {"sample": 0}]))
    assert "key 'parts.0.sample'" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [("", r"key 'suite': .*\(got None\)"), ("- a\n", "key 'suite'"), ("a: [", "not YAML"), ("a: b: c", "not YAML"), ("\xff", "suite")],
)
def test_a_file_that_is_no_suite_is_told(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SuiteError, match=says):
        load_suite(str(file))


def test_a_date_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: 2025-13-40\n")
    with pytest.raises(SuiteError, match="not YAML"):
        load_suite(str(file))


@pytest.mark.parametrize("name", ["no-such-suite", "."])
def test_a_suite_that_is_not_there_names_those_that_are(name: str) -> None:
    with pytest.raises(SuiteError, match=r"give a YAML file or one of harmful, attacked, "):
        load_suite(name)


@pytest.mark.parametrize(
    "part",
    [
        {"set": "added_rules", "label": "harmful"},
        {"set": "ordinary", "change": "add"},
        {"set": "ordinary", "label": "ordinary", "attack": "wild", "group": "mine"},
        {"set": "ordinary", "label": "ordinary", "attack": "families", "sample_each": 3},
        {"set": "ordinary", "label": "ordinary", "attack": "families", "group_by": "group"},
    ],
    ids=[
        "added rules as prompts",
        "added rules of another set",
        "a group of an attack",
        "a sample of each family's groups",
        "groups of a family",
    ],
)
def test_keys_that_do_not_fit_together_are_refused(part: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Value error"):
        Suite.model_validate(SUITE | {"parts": [part]})


def test_a_suite_that_judges_answers_has_some() -> None:
    assert Suite.model_validate(SUITE | {"measure": Measure.RULES, "answer_tokens": 0}).answer_tokens == 0
    for measure in set(Measure) - {Measure.RULES, Measure.CARE}:
        with pytest.raises(ValueError, match="answer_tokens"):
            Suite.model_validate(SUITE | {"measure": measure, "answer_tokens": 0})
