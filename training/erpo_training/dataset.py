"""From items and answers to token ids with labels: what the trainer sees.

The prompt is tokenised exactly as the server tokenises it (the aligned chat template, which ends with the trace's opening); the
completion (trace, answer, end of turn) is tokenised apart, and only it has labels. Knows a tokenizer, not a model.
"""

import random
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from erpo_rules import Rulebook, Verdict, render_body
from erpo_rules.inert import control_tokens
from erpo_rules.shown import shown
from erpo_rules.trace import deciding, decoded_body, opening
from erpo_training.data.answers import Answer
from erpo_training.data.items import Item, ItemError, Message
from erpo_training.data.twins import twins
from erpo_training.stages.pairs import Pair

NO_LOSS = -100
"""Label of a token that is not learnt."""

NO_ANSWER = Answer("", finished=False)

SHORTEST_ANSWER = 16
"""Room in tokens that a long prompt leaves for the answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One training sequence."""

    item_id: str
    input_ids: list[int]
    labels: list[int]
    deciding: tuple[int, ...] = ()
    """Positions of the tokens that decide: whether there is something to assess, which rules, what follows."""
    twins: str | None = None
    """Name of the pair that the item and its twin are, where both are trained on."""

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class PairRow:
    """A tokenised preference pair: what both share, and where they part."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


@dataclass(frozen=True, slots=True)
class Split:
    """Items to train on and items held out."""

    train: tuple[Item, ...]
    validation: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Tokenised items, in the items' order."""

    rows: tuple[Row, ...]
    cut_prompts: int
    """Prompts shortened in the middle to fit."""
    cut_answers: int
    """Answers shortened to fit."""


def split(items: tuple[Item, ...], validation: float, seed: int) -> Split:
    """Shuffle and hold out about the same share of every verdict; a wrapped copy goes where the item inside it goes."""
    families: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: item.id):
        families.setdefault(item.origin, []).append(item)
    order = list(families.values())
    random.Random(f"split-{seed}").shuffle(order)
    sizes = Counter(family[0].verdict for family in order)
    room = {verdict: max(1, round(size * validation)) if validation and size > 1 else 0 for verdict, size in sizes.items()}
    train: list[Item] = []
    held: list[Item] = []
    for family in order:
        verdict = family[0].verdict
        (held if room[verdict] else train).extend(family)
        room[verdict] = max(0, room[verdict] - 1)
    return Split(tuple(train), tuple(held))


def tokenise(
    items: tuple[Item, ...], answers: Mapping[str, Answer], tokenizer: Any, max_length: int, explained: Container[str] | None = None
) -> Rows:
    """Tokenise every item. One without an answer teaches its trace alone.

    Args:
        answers: What is taught after the trace, by item id.
        tokenizer: The aligned one (`erpo_training.template`).
        max_length: Longest sequence in tokens. A long prompt is shortened in the middle of its longest user message, a long answer at its
            end.
        explained: Ids of the items that teach their trace's words, every answered one beside them; of the others it is only whether there
            is something to assess. All when omitted.

    Raises:
        ItemError: a conversation that cannot be cut to fit.
    """
    rows: list[Row] = []
    pairs = twins(items)
    cut_prompts = cut_answers = 0
    for item in items:
        answer = answers.get(item.id, NO_ANSWER)
        # Without an answer behind it, what follows from the trace needs no teaching: nobody decodes it.
        in_words = explained is None or item.id in explained
        taught = render_body(item.trace()) if answer.text else decoded_body(item.trace()) if in_words else opening(item.trace())
        trace, decided = _trace_ids(tokenizer, taught)
        prompt, cut = _prompt(tokenizer, item.messages, max_length - len(trace) - SHORTEST_ANSWER)
        completion = trace + _ids(tokenizer, answer.text)
        if answer.finished:
            completion.append(tokenizer.eos_token_id)
        room = max_length - len(prompt)
        cut_prompts += cut
        cut_answers += len(completion) > room
        completion = completion[:room]
        decides = tuple(len(prompt) + i for i in decided if i < len(completion))
        rows.append(Row(item.id, prompt + completion, [NO_LOSS] * len(prompt) + completion, decides, pairs.get(item.id)))
    return Rows(tuple(rows), cut_prompts, cut_answers)


def prompt_ids(item: Item, tokenizer: Any, max_length: int) -> list[int]:
    """Token ids of an item's prompt, the trace's opening included; shortened like a training prompt."""
    return _prompt(tokenizer, item.messages, max_length)[0]


def pair_rows(pairs: Sequence[Pair], items: Mapping[str, Item], tokenizer: Any, max_length: int) -> tuple[PairRow, ...]:
    """Tokenise pairs; the tokens that both traces begin with belong to the prompt, so that only where they part is compared.

    A long prompt is shortened, so that a sequence has at most `max_length` tokens. A pair whose traces are the same tokens is left out, and
    one that cannot be cut to fit: a sampled trace may be far longer than the written one that stage 1 made room for.
    """
    rows: list[PairRow] = []
    for pair in pairs:
        chosen, rejected = _ids(tokenizer, pair.chosen), _ids(tokenizer, pair.rejected)
        shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected)))
        if shared == min(len(chosen), len(rejected)):
            continue
        with suppress(ItemError):
            prompt = prompt_ids(items[pair.item_id], tokenizer, max_length - max(len(chosen), len(rejected)))
            rows.append(PairRow(prompt + chosen[:shared], chosen[shared:], rejected[shared:]))
    return tuple(rows)


def taught_answers(items: tuple[Item, ...], base: Mapping[str, Answer], rulebook: Rulebook) -> dict[str, Answer]:
    """What is taught after a trace, by item id: the rulebook's refusal, the item's own cautious answer, or the base model's answer.

    An item is not in it when the base gave it no usable answer, or nobody wrote a cautious one.
    """
    answers: dict[str, Answer] = {}
    for item in items:
        if item.verdict is Verdict.REFUSE:
            answers[item.id] = Answer(rulebook.refusal(item.trace().citations))
        elif item.answer is not None:
            answers[item.id] = Answer(item.answer)
        elif item.id in base:
            answers[item.id] = base[item.id]
    return answers


def _prompt(tokenizer: Any, messages: tuple[Message, ...], limit: int) -> tuple[list[int], bool]:
    cut, tokens = False, control_tokens(tokenizer)
    while True:
        said = shown([message.model_dump() for message in messages], tokens)  # as the server does
        text = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
        ids = _ids(tokenizer, text)
        if len(ids) <= limit:
            return ids, cut
        messages = _shortened(messages, len(ids) - limit)
        cut = True


def _shortened(messages: tuple[Message, ...], tokens: int) -> tuple[Message, ...]:
    """The messages without `tokens` characters, and so fewer tokens, from the middle of the longest user message."""
    index = max((i for i, m in enumerate(messages) if m.role == "user"), key=lambda i: len(messages[i].content))
    content = messages[index].content
    keep = len(content) - tokens - 8
    if keep < 16:
        raise ItemError(f"a conversation of {len(messages)} messages cannot be cut to 'sft.max_length': raise it in the recipe")
    shorter = content[: (keep + 1) // 2] + " … " + content[len(content) - keep // 2 :]
    return (*messages[:index], messages[index].model_copy(update={"content": shorter}), *messages[index + 1 :])


def _trace_ids(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """Token ids of a trace's text, and which of them decide."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = deciding(text)
    decides = [i for i, (start, end) in enumerate(encoded["offset_mapping"]) if any(start < stop and begin < end for begin, stop in spans)]
    return list(encoded["input_ids"]), decides


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
