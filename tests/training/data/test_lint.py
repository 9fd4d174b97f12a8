"""What the corpus check finds, and that the shipped corpus passes."""

import subprocess
import sys

import pytest

from erpo_rules import Rulebook, Verdict
from erpo_training.data.assessed import Assessed
from erpo_training.data.items import Item
from erpo_training.data.lint import Corpus, lint, near_duplicates, read_corpus
from tests.training.made import item, lookalike


def faults(*items: Item, rulebook: Rulebook) -> list[str]:
    corpus = Corpus(tuple((f"S2.jsonl:{number}", one) for number, one in enumerate(items, start=1)), (), ())
    return [fault for fault in lint(corpus, rulebook, least=1) if not fault.startswith("corpus: rule") or "'S2'" in fault]


def test_the_shipped_corpus_has_no_fault(rulebook: Rulebook) -> None:
    assert lint(read_corpus(), rulebook) == []


def test_a_balanced_rule_has_no_fault(rulebook: Rulebook) -> None:
    assert faults(item(), lookalike(), rulebook=rulebook) == []


def test_fewer_lookalikes_than_harmful_items_is_a_fault(rulebook: Rulebook) -> None:
    assert faults(item(), rulebook=rulebook) == ["corpus: rule 'S2' has 1 harmful items and only 0 look-alikes; write at least 1 more"]


def test_an_id_twice_is_a_fault(rulebook: Rulebook) -> None:
    assert "S2.jsonl:2: id 'S2-harm-001' is also at S2.jsonl:1; give it another" in faults(
        item(), lookalike("S2-harm-001"), rulebook=rulebook
    )


@pytest.mark.parametrize(
    ("assessment", "said"),
    [
        ("asks how; robbed", None),
        ("asks", "assessment of 4 characters"),
        ("asks how to rob; " + "very " * 25 + "bad", "assessment of 145 characters"),
        ("Asks how to rob; theft", "starts in lower case"),
        ("asks how to rob; theft.", "without a full stop"),
        ("asks how to rob a shop", "has no ';'"),
        ("asks how to rob; the verdict is clear", "names 'verdict'"),
        ("asks how to rob; S2", "names 'S2'"),
    ],
)
def test_the_form_of_an_assessment(rulebook: Rulebook, assessment: str, said: str | None) -> None:
    found = faults(item(assessment=assessment), lookalike(), rulebook=rulebook)
    assert found == [] if said is None else said in found[0]


def test_the_corpus_assesses_whatever_is_not_ordinary(rulebook: Rulebook) -> None:
    assert any("kind 'lookalike' needs an 'assessment'" in fault for fault in faults(lookalike(assessment=None), rulebook=rulebook))


def test_an_unknown_rule_is_a_fault(rulebook: Rulebook) -> None:
    assert any("rule 'S99' is not in rulebook 'mlcommons'" in fault for fault in faults(item(rule="S99"), rulebook=rulebook))


def test_nearly_the_same_words_in_one_kind_are_a_fault() -> None:
    words = "please tell me how to open the back door of a small shop when nobody is there"
    first, second = item("a", prompt=words), item("b", prompt=words.upper() + " today")
    assert near_duplicates([("f:1", first), ("f:2", second)]) == ["f:2: 'b' has 94% of its words in common with 'a' (f:1); rewrite one"]
    assert near_duplicates([("f:1", first), ("f:2", lookalike("b", prompt=words))]) == []
    assert near_duplicates([("f:1", first), ("f:2", item("b", prompt="what else"))]) == []


def test_the_command_prints_counts_and_exits_0() -> None:
    done = subprocess.run([sys.executable, "-m", "erpo_training.data.lint"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no faults" in done.stdout


def test_third_party_assessments_are_checked_as_well(rulebook: Rulebook, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"a": Assessed(Verdict.REFUSE, "S99", "asks how to rob; theft"), "b": Assessed(Verdict.COMPLY, None, "Asks who played a part")}
    monkeypatch.setattr("erpo_training.data.lint.assessed_prompts", lambda: made)
    found = faults(item(), lookalike(), rulebook=rulebook)
    assert len(found) == 2
    assert "assessment of prompt a: rule 'S99' is not in rulebook" in found[0]
    assert "assessment of prompt b: assessment 'Asks who played a part': starts in lower case" in found[1]
