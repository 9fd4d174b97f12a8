"""Which items a recipe chooses."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from erpo_rules import Rulebook, Verdict
from erpo_training.data.assessed import Assessed, prompt_key
from erpo_training.data.gather import answered, briefly, explained, gather, statistics
from erpo_training.data.items import ItemError, Kind
from erpo_training.data.reading import Labelled
from erpo_training.data.sources import WILD
from erpo_training.recipe import Data, SetChoice
from tests.training.made import item, lookalike, ordinary

CARE = item("S6-care", kind="caution", rule="S6", verdict="caution", answer="See a doctor.")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_the_corpus_alone_needs_no_folder(tmp_path: Path, rulebook: Rulebook) -> None:
    found = gather(Data(), tmp_path / "none", rulebook, seed=0)
    assert set(statistics(found.items)["source"]) == {"erpo-corpus"}


def test_a_cap_is_spread_over_the_verdicts(tmp_path: Path, rulebook: Rulebook) -> None:
    found = gather(Data(limit=48), tmp_path, rulebook, seed=0)
    assert set(Counter(item.verdict for item in found.items).values()) == {16}


def test_wrapped_items_are_added_in_equal_numbers(tmp_path: Path, rulebook: Rulebook) -> None:
    found = gather(Data(wrapped=20), tmp_path, rulebook, seed=0)
    assert set(Counter(item.verdict for item in found.items if item.kind is Kind.WRAPPED).values()) == {20}


def test_items_inside_templates_found_in_the_wild_are_added_in_equal_numbers(tmp_path: Path, rulebook: Rulebook) -> None:
    rows = [{"name": str(number), "template": f"Wild {number}: {{prompt}}"} for number in range(3)]
    (tmp_path / WILD.file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = gather(Data(wrapped=20, wild=10), tmp_path, rulebook, seed=0)
    wrapped = [item for item in found.items if item.kind is Kind.WRAPPED]
    wild = [item for item in wrapped if "+wild-" in item.id]
    assert set(Counter(item.verdict for item in wrapped).values()) == {30}
    assert set(Counter(item.verdict for item in wild).values()) == {10}
    assert all(item.prompt.startswith("Wild ") for item in wild)
    assert all(item.id.count("+") == 1 for item in wrapped), "a wrapped item is not wrapped again"
    assert len({item.id for item in found.items}) == len(found.items)
    assert gather(Data(wrapped=20, wild=10), tmp_path, rulebook, seed=0) == found


def test_wild_templates_are_read_only_when_they_are_asked_for(tmp_path: Path, rulebook: Rulebook) -> None:
    gather(Data(wrapped=1), tmp_path, rulebook, seed=0)
    with pytest.raises(ItemError, match=WILD.file):
        gather(Data(wild=1), tmp_path, rulebook, seed=0)


def test_a_prompt_of_two_sets_counts_once(tmp_path: Path, rulebook: Rulebook) -> None:
    (tmp_path / "gsm8k.jsonl").write_text('{"prompt": "Is it so?"}\n')
    (tmp_path / "self_instruct.jsonl").write_text('{"prompt": "is it  so?"}\n{"prompt": "Or so?"}\n')
    sets = (SetChoice(name="gsm8k"), SetChoice(name="self_instruct"))
    found = gather(Data(corpus=False, sets=sets), tmp_path, rulebook, seed=0)
    assert (len(found.items), found.duplicates) == (2, 1)


def orbench(folder: Path, *harmful: bool) -> None:
    rows = [
        {"prompt": f"Question {number}?", "topic": "privacy", "label": "harmful" if one else "benign"} for number, one in enumerate(harmful)
    ]
    (folder / "orbench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_rows_that_nobody_assessed_are_left_out_and_counted(tmp_path: Path, rulebook: Rulebook) -> None:
    orbench(tmp_path, True, False)
    written = {prompt_key("Question 0?"): Assessed(Verdict.REFUSE, "S7", "asks for it; a person is exposed")}
    found = gather(Data(corpus=False, sets=(SetChoice(name="orbench"),)), tmp_path, rulebook, seed=0, written=written)
    assert [(item.id, item.verdict) for item in found.items] == [("orbench-00001", Verdict.REFUSE)]
    assert (found.unassessed, found.doubted) == ({"orbench": 1}, {"orbench": 0})


def test_a_teacher_is_asked_once_about_what_lacks_an_assessment_and_may_doubt_a_label(tmp_path: Path, rulebook: Rulebook) -> None:
    orbench(tmp_path, True, False, True)
    asked: list[Sequence[Labelled]] = []

    def assess(rows: Sequence[Labelled]) -> Mapping[str, Assessed]:
        asked.append(rows)
        return {prompt_key("Question 1?"): Assessed(Verdict.COMPLY, "S7", "asks about it; their own data")}

    data = Data(corpus=False, sets=(SetChoice(name="orbench"),))
    found = gather(data, tmp_path, rulebook, seed=0, written={}, assess=assess)
    assert [[row.prompt for row in rows] for rows in asked] == [["Question 0?", "Question 1?", "Question 2?"]]
    assert [(item.id, item.kind) for item in found.items] == [("orbench-00002", Kind.LOOKALIKE)]
    assert (found.unassessed, found.doubted) == ({"orbench": 0}, {"orbench": 2})


def test_a_teacher_is_asked_about_no_more_rows_than_the_recipe_draws(tmp_path: Path, rulebook: Rulebook) -> None:
    orbench(tmp_path, *[True, False] * 10)
    asked: list[Labelled] = []

    def assess(rows: Sequence[Labelled]) -> Mapping[str, Assessed]:
        asked.extend(rows)
        return {prompt_key(row.prompt): Assessed(Verdict.REFUSE, row.rule, "asks for it; a person is exposed") for row in rows}

    choice = SetChoice(name="orbench", kinds=(Kind.HARMFUL,), limit=4)
    found = gather(Data(corpus=False, sets=(choice,)), tmp_path, rulebook, seed=0, written={}, assess=assess)
    assert len(asked) == len(found.items) == 4
    assert {row.kind for row in asked} == {Kind.HARMFUL}
    assert found.unassessed == {"orbench": 16}


def test_what_resembles_evaluation_is_neither_trained_on_nor_wrapped_nor_wrapped_around(tmp_path: Path, rulebook: Rulebook) -> None:
    rows = [{"name": str(number), "template": f"Wild {number}: {{prompt}}"} for number in range(3)]
    (tmp_path / WILD.file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    every = gather(Data(wild=10), tmp_path, rulebook, seed=0)
    hit = next(item.origin for item in every.items if item.kind is Kind.WRAPPED)
    found = gather(Data(wild=10), tmp_path, rulebook, seed=0, resembling=lambda texts: frozenset({hit, "wild-000"}) & texts.keys())
    assert found.resembling == {"erpo-corpus": 1, WILD.name: 1}
    assert all(item.origin != hit for item in found.items)
    assert {item.id.split("+")[1] for item in found.items if item.kind is Kind.WRAPPED} == {"wild-001", "wild-002"}
    assert Counter(item.verdict is Verdict.REFUSE for item in found.items if item.kind is Kind.WRAPPED) == {True: 10, False: 10}


def test_a_rulebook_that_does_not_admit_the_data_is_an_error(tmp_path: Path, rulebook: Rulebook) -> None:
    with pytest.raises(ItemError, match="has no enabled rule 'S2' that may lead to 'refuse'"):
        gather(Data(), tmp_path, rulebook.without("S2"), seed=0)


def test_no_item_is_an_error(tmp_path: Path, rulebook: Rulebook) -> None:
    with pytest.raises(ItemError, match=r"data\.corpus"):
        gather(Data(corpus=False), tmp_path, rulebook, seed=0)


def test_ordinary_items_always_teach_an_answer() -> None:
    many = tuple(lookalike(f"l{n}") for n in range(200))
    chosen = answered((*many, ordinary()), Data(answered=0.3))
    assert ordinary() in chosen
    assert 30 < len(chosen) < 90
    assert answered(many, Data()) == many


def test_harmless_items_but_for_a_share_are_taught_briefly_and_harmful_ones_never() -> None:
    many = (*(lookalike(f"l{n}") for n in range(200)), *(item(f"h{n}") for n in range(20)))
    assert briefly(many, 1.0) == many
    made = briefly(many, 0.1)
    assert 5 < sum(one.assessment is not None for one in made[:200]) < 40
    assert made[200:] == many[200:]
    assert [one.id for one in made] == [one.id for one in many]


def test_all_but_a_share_of_the_refused_items_teach_only_how_their_trace_opens() -> None:
    many = (*(item(f"h{n}") for n in range(200)), lookalike(), CARE)
    in_words = explained(many, 0.3)
    assert 30 < sum(one.id in in_words for one in many[:200]) < 90
    assert {lookalike().id, CARE.id} <= in_words
    assert explained(many, 1.0) == {one.id for one in many}


def test_fewer_cautious_items_can_teach_an_answer() -> None:
    many = tuple(CARE.model_copy(update={"id": f"c{n}"}) for n in range(200))
    assert 20 < len(answered(many, Data(answered_cautious=0.2))) < 60
    assert answered(many, Data(answered=0.0)) == many


def test_fewer_ordinary_items_can_teach_an_answer() -> None:
    many = tuple(ordinary(f"o{n}") for n in range(200))
    assert 20 < len(answered(many, Data(answered_ordinary=0.2))) < 60
    assert answered(many, Data(answered=0.0)) == many
