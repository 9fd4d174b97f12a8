"""The bias on how a trace opens."""

from typing import Any

import pytest

from erpo_rules.strictness import LIMIT, StrictnessError, opening_bias


class Letters:
    """A tokenizer whose tokens are characters, after a token that begins every text where there is one."""

    def __init__(self, *begins: int) -> None:
        self.begins = begins

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, Any]:
        assert not add_special_tokens
        return {"input_ids": [*self.begins, *map(ord, text)]}


def test_the_token_that_begins_an_assessment_is_biased() -> None:
    assert opening_bias(Letters(), 0.5) == {ord("A"): 0.5}
    assert opening_bias(Letters(), -LIMIT) == {ord("A"): -LIMIT}


def test_at_0_nothing_is() -> None:
    assert opening_bias(Letters(7), 0.0) == {}


@pytest.mark.parametrize("strictness", [LIMIT + 1, -LIMIT - 1, float("nan")])
def test_what_is_out_of_range_is_named(strictness: float) -> None:
    with pytest.raises(StrictnessError, match=r"strictness .*: from -10 to 10, in logits"):
        opening_bias(Letters(), strictness)


def test_openings_that_begin_alike_cannot_be_told_apart() -> None:
    with pytest.raises(StrictnessError, match="the same token; leave it at 0"):
        opening_bias(Letters(7), 1.0)
