"""What is tokenised and what is learnt: the server's own prompt, then the completion, which alone has labels."""

from typing import Any

import pytest

from erpo_rules import OPEN, Rulebook, Verdict, parse
from erpo_training.answers import Answer
from erpo_training.dataset import NO_LOSS, Row, split, taught_answers, tokenise
from erpo_training.items import Item, ItemError
from tests.training.made import item, lookalike, ordinary

CARE = item("S6-care", kind="caution", rule="S6", verdict="caution", answer="See a doctor.")


def halves(row: Row, tokenizer: Any) -> tuple[str, str]:
    """Text without loss, text with loss; and that each label is its own token."""
    learnt = [token for token in row.labels if token != NO_LOSS]
    start = row.length - len(learnt)
    assert row.labels == [NO_LOSS] * start + row.input_ids[start:]
    return tokenizer.decode(row.input_ids[:start]), tokenizer.decode(learnt)


def rows(items: tuple[Item, ...], answers: dict[str, Answer], tokenizer: Any, longest: int = 2000) -> tuple[Row, ...]:
    return tokenise(items, answers, tokenizer, longest).rows


def test_only_the_completion_has_loss(tokenizer: Any, rulebook: Rulebook) -> None:
    one = item()
    prompt, completion = halves(rows((one,), taught_answers((one,), {}, rulebook), tokenizer)[0], tokenizer)
    assert prompt == f"<|im_start|>user\n{one.prompt}<|im_end|>\n<|im_start|>assistant\n{OPEN}"
    trace, answer = parse(completion)
    assert trace == one.trace()
    assert answer == rulebook.rule("S2").refusal + "<|im_end|>"


def test_the_base_answers_what_is_complied_with(tokenizer: Any, rulebook: Rulebook) -> None:
    taught = taught_answers((ordinary(), lookalike(), CARE), {"ordinary-001": Answer("Ten minutes.")}, rulebook)
    assert taught == {"ordinary-001": Answer("Ten minutes."), "S6-care": Answer("See a doctor.")}
    assert halves(rows((ordinary(),), taught, tokenizer)[0], tokenizer)[1] == "Rules: none\n</think>\nTen minutes.<|im_end|>"


def test_no_end_is_learnt_after_a_cut_answer(tokenizer: Any) -> None:
    (row,) = rows((ordinary(),), {"ordinary-001": Answer("Ten min", finished=False)}, tokenizer)
    assert halves(row, tokenizer)[1] == "Rules: none\n</think>\nTen min"


def test_an_item_without_an_answer_teaches_its_trace_alone(tokenizer: Any) -> None:
    (row,) = rows((ordinary(),), {}, tokenizer)
    assert halves(row, tokenizer)[1] == "Rules: none\n</think>\n"


def test_a_long_prompt_is_cut_in_its_middle_and_keeps_its_ends(tokenizer: Any) -> None:
    long = ordinary(prompt="BEGIN " + "x" * 900 + " END")
    made = tokenise((long,), {"ordinary-001": Answer("Yes.")}, tokenizer, 300)
    prompt, completion = halves(made.rows[0], tokenizer)
    assert (made.cut_prompts, made.cut_answers) == (1, 0)
    assert "BEGIN xxx" in prompt
    assert "xxx END<|im_end|>" in prompt
    assert " … " in prompt
    assert completion.endswith("Yes.<|im_end|>")
    assert made.rows[0].length <= 300


def test_a_long_answer_is_cut_at_its_end(tokenizer: Any) -> None:
    made = tokenise((ordinary(),), {"ordinary-001": Answer("y" * 900)}, tokenizer, 300)
    assert (made.cut_prompts, made.cut_answers, made.rows[0].length) == (0, 1, 300)


def test_a_conversation_that_cannot_fit_is_an_error(tokenizer: Any) -> None:
    turns = [{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "x" * 900}, {"role": "user", "content": "And?"}]
    with pytest.raises(ItemError, match=r"sft\.max_length"):
        tokenise((ordinary(prompt=None, messages=turns),), {}, tokenizer, 300)


def test_the_split_holds_out_the_same_share_of_every_verdict() -> None:
    items = tuple(item(f"h{n}") for n in range(40)) + tuple(lookalike(f"l{n}") for n in range(20)) + (CARE,)
    parts = split(items, 0.1, seed=3)
    held = [one.verdict for one in parts.validation]
    assert (held.count(Verdict.REFUSE), held.count(Verdict.COMPLY), held.count(Verdict.CAUTION)) == (4, 2, 0)
    assert {one.id for one in (*parts.train, *parts.validation)} == {one.id for one in items}
    assert split(items[::-1], 0.1, seed=3) == parts
    assert split(items, 0.0, seed=3).validation == ()
