"""The form of the corpus's lines, the trace that follows from each, and what a faulty line is told."""

import json
from pathlib import Path

import pytest

from erpo_rules import Verdict, render_body
from erpo_training.data.items import Item, ItemError, Wrapper, load, load_corpus, load_wrappers
from tests.training.made import item, lookalike, ordinary


def write(file: Path, *lines: object) -> Path:
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return file


def test_a_prompt_is_one_user_message() -> None:
    assert [message.model_dump() for message in item(prompt="Hello?").messages] == [{"role": "user", "content": "Hello?"}]


def test_a_harmful_item_cites_its_rule() -> None:
    body = render_body(item().trace())
    assert body == "Assessment: asks how to pick a shop's lock; burglary, someone is robbed\nRules: [S2]\nVerdict: refuse\n</think>\n"


def test_a_lookalike_has_an_assessment_and_cites_nothing() -> None:
    trace = lookalike().trace()
    assert (trace.verdict, trace.citations, bool(trace.assessment)) == (Verdict.COMPLY, (), True)


@pytest.mark.parametrize("one", [ordinary(), lookalike(assessment=None)])
def test_an_ordinary_item_has_the_short_form_and_a_harmless_one_that_is_not_assessed(one: Item) -> None:
    assert render_body(one.trace()) == "Rules: none\n</think>\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": "comply"}, "verdict 'comply' does not fit kind 'harmful'"),
        ({"kind": "lookalike"}, "verdict 'refuse' does not fit kind 'lookalike'"),
        ({"rule": None}, "needs the 'rule'"),
        ({"verdict": "caution"}, "verdict 'caution' needs an 'answer'"),
        ({"answer": "No."}, "verdict 'refuse' takes no 'answer'"),
        ({"assessment": None}, "verdict 'refuse' needs an 'assessment'"),
        ({"assessment": "a <tag>"}, "holds '<'"),
        ({"kind": "evil"}, "'evil'"),
        ({"colour": "red"}, "'colour'"),
        ({"messages": []}, "both 'prompt' and 'messages'"),
        ({"prompt": None, "messages": [{"role": "assistant", "content": "Hello"}]}, "the last message is the assistant's"),
    ],
)
def test_a_faulty_line_is_named_with_its_file_and_number(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    good = json.loads(item().model_dump_json(exclude_none=True, exclude={"messages"})) | {"prompt": "How?"}
    bad = {name: value for name, value in (good | changes).items() if value is not None}
    file = write(tmp_path / "S2.jsonl", good, "", bad)
    with pytest.raises(ItemError) as raised:
        load(file, Item)
    assert str(raised.value).startswith("S2.jsonl:3: ")
    assert said in str(raised.value)


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "S2.jsonl", "{", {"id": "a"})
    with pytest.raises(ItemError) as raised:
        load(file, Item)
    assert [line.split(": ")[0] for line in str(raised.value).splitlines()] == ["S2.jsonl:1", "S2.jsonl:2"]


def test_a_wrapper_holds_its_prompt_once(tmp_path: Path) -> None:
    wrapper = {"id": "wrap-001", "kind": "wrapper", "family": "roleplay", "template": "{prompt} {prompt}", "note": "twice"}
    with pytest.raises(ItemError, match=r"wrappers.jsonl:1: the template holds {prompt} 2 times"):
        load(write(tmp_path / "wrappers.jsonl", wrapper), Wrapper)


def test_the_shipped_corpus_loads() -> None:
    assert len(load_corpus()) > 1200
    assert load_wrappers()
