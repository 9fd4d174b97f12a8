"""Twins by their ids."""

import pytest

from erpo_training.data.items import load_corpus
from erpo_training.data.twins import twins
from tests.training.made import item, lookalike


@pytest.mark.parametrize(
    ("harmful", "harmless"),
    [
        ("twins-crime-0007-h", "twins-crime-0007-l"),
        ("lang-fr-h02", "lang-fr-l02"),
        ("care-self-care-011", "care-self-like-011"),
        ("story-004", "story-004-b"),
    ],
)
def test_an_item_and_its_twin_have_a_name_of_their_own(harmful: str, harmless: str) -> None:
    pair = (item(harmful), lookalike(harmless))
    found = twins((*pair, item("twins-crime-0008-h"), lookalike("everyday-0001")))
    assert set(found) == {harmful, harmless}
    assert len(set(found.values())) == 1


def test_an_item_from_elsewhere_or_with_the_same_verdict_is_no_twin() -> None:
    assert not twins((item("twins-crime-0007-h"), item("twins-crime-0007-l")))
    assert not twins((item("twins-crime-0007-h"), lookalike("twins-crime-0007-l", source="orbench")))
    assert not twins((item("twins-crime-0007-h"), lookalike("twins-crime-0007-l", kind="wrapped")))
    assert not twins((item("S6-care-001"), lookalike("S6-like-001"))), "the numbers are each file's own"


def test_half_of_the_corpus_are_twins() -> None:
    corpus = load_corpus()
    assert 0.45 < len(twins(corpus)) / len(corpus) < 0.75
