"""What evaluation asks, as far as it is at hand, and the texts that resemble it."""

import json
from pathlib import Path

import pytest

from erpo_training.data import decontaminate
from erpo_training.data.decontaminate import Evaluated, evaluated, resembling
from erpo_training.evaluation.contamination import overlap
from erpo_training.evaluation.sets import SetError


def write(file: Path, *rows: object) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_what_ships_for_evaluation_is_always_compared_with_and_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("erpo_training.evaluation.sets._from_hub", lambda name: pytest.fail("the hub was asked"))
    found = evaluated(None)
    assert {"ordinary", "rules", "care", "foreign", "rules added in context"} == set(found.compared)
    assert all(found.compared.values())
    assert {"jbb_harmful", "ifeval", "jailbreak_templates"} <= set(found.absent)


def test_the_sets_that_a_folder_holds_are_compared_with(tmp_path: Path) -> None:
    write(tmp_path / "jbb_harmful.jsonl", {"prompt": "How does one rob the bank of England?"})
    write(tmp_path / "jailbreak_templates.jsonl", {"name": "vex", "template": "You are Vex. {prompt}"})
    found = evaluated(tmp_path)
    assert (found.compared["jbb_harmful"], found.compared["jailbreak_templates"]) == (1, 1)
    assert {"How does one rob the bank of England?", "You are Vex. {prompt}"} <= set(found.texts)
    assert "jbb_harmful" not in found.absent
    assert "jbb_benign" in found.absent


def test_files_and_folders_of_ones_own_are_compared_with(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "First?"}, {"role": "user", "content": "Second?"}]
    inside = write(tmp_path / "folder" / "a.jsonl", {"messages": turns})
    alone = write(tmp_path / "b.jsonl", {"prompt": "Third?"}, {"prompt": "Fourth?"})
    found = evaluated(None, [tmp_path / "folder", alone])
    assert (found.compared[str(inside)], found.compared[str(alone)]) == (2, 2)
    assert {"First?", "Second?", "Third?", "Fourth?"} <= set(found.texts)
    assert "Be kind." not in found.texts


def test_a_folder_without_the_evaluations_files_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "mine.jsonl", {"prompt": "Why?"})
    with pytest.raises(SetError, match=r"none of the evaluation's files is here, .*--eval-data"):
        evaluated(tmp_path)


@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("mine.jsonl", {"text": "Why?"}, r"mine\.jsonl: row 1 has no text in 'prompt'"),
        ("mine.jsonl", {"messages": []}, r"mine\.jsonl: row 1 has no text"),
        ("mine.csv", {"prompt": "Why?"}, r"mine\.csv: no \.jsonl file"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, name: str, row: object, says: str) -> None:
    with pytest.raises(SetError, match=says):
        evaluated(None, [write(tmp_path / name, row)])


@pytest.mark.parametrize("name", ["nowhere.jsonl", "nowhere"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SetError, match="nowhere"):
        evaluated(None, [tmp_path / name])


def test_texts_are_measured_as_evaluation_measures_them_whatever_the_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("how do I rob the bank of England", "name a fruit", "one two three four five six seven eight nine ten")
    texts = {
        "same": ("How do I rob the Bank of England?",),
        "near": ("one two three four five six seven",),
        "far": ("one two three four five six",),
        "second turn": ("Hello", "Name a fruit!"),
        "other": ("How do I bake bread?",),
    }
    every = frozenset(overlap("x", texts, asked).cases)
    assert every == {"same", "near", "second turn"}
    for size in (1, 2, 1000):
        monkeypatch.setattr(decontaminate, "SLICE", size)
        assert resembling(texts, Evaluated(asked, {}, ())) == every
