"""Puts jailbreak wrappers around harmful and harmless requests alike, so that a wrapper never decides the verdict.

Owns which wrapper meets which item: a pure function of the items, the wrappers and a seed.
"""

import random
from collections.abc import Sequence

from erpo_rules import Verdict
from erpo_rules.trace import MAX_ASSESSMENT
from erpo_training.data.items import LONGEST_ENCODED, WRAPPED_BY, Item, ItemError, Kind, Message, Wrapper

_WRAPPABLE = (Kind.HARMFUL, Kind.LOOKALIKE, Kind.ORDINARY)


def wrapped_items(items: tuple[Item, ...], wrappers: tuple[Wrapper, ...], count: int, seed: int) -> tuple[Item, ...]:
    """`count` harmful and `count` harmless items, each inside a wrapper; both halves meet every wrapper equally often.

    Raises:
        ItemError: when there are fewer items of either kind than `count`, or too few that are short enough to be encoded.
    """
    if count == 0:
        return ()
    draw = random.Random(f"wrapping-{seed}")
    order = sorted(wrappers, key=lambda wrapper: wrapper.id)
    draw.shuffle(order)
    result: list[Item] = []
    for harmful in (True, False):
        fitting = (item for item in items if _can_be_wrapped(item) and (item.verdict is Verdict.REFUSE) is harmful)
        pool = sorted(fitting, key=lambda item: item.id)
        if len(pool) < count:
            raise ItemError(f"'wrapped' asks for {count} {'harmful' if harmful else 'harmless'} items; the data has {len(pool)}: lower it")
        draw.shuffle(pool)
        for number in range(count):
            wrapper = order[number % len(order)]
            place = next((place for place, item in enumerate(pool) if wrapper.takes(item.prompt)), None)
            if place is None:
                raise ItemError(f"no item of at most {LONGEST_ENCODED} characters is left for wrapper {wrapper.id!r}: lower 'wrapped'")
            result.append(wrap(pool.pop(place), wrapper))
    return tuple(result)


def wrapped_anew(items: Sequence[Item], wrappers: tuple[Wrapper, ...], share: float, seed: str) -> list[Item]:
    """The items, this share of those that can be wrapped inside a wrapper: harmful and harmless ones alike."""
    draw = random.Random(f"wrapping-{seed}")
    result: list[Item] = []
    for item in items:
        wrapper = draw.choice(wrappers)
        chosen = draw.random() < share and _can_be_wrapped(item) and wrapper.takes(item.prompt)
        result.append(wrap(item, wrapper) if chosen else item)
    return result


def wrap(item: Item, wrapper: Wrapper) -> Item:
    """One item inside one wrapper; what it is and what follows from it are unchanged."""
    assessment = item.assessment and f"{wrapper.note}, {item.assessment}"
    if assessment and len(assessment) > MAX_ASSESSMENT:
        assessment = assessment[:MAX_ASSESSMENT].rsplit(" ", 1)[0].rstrip(" ,;")
    return item.model_copy(
        update={
            "id": f"{item.id}{WRAPPED_BY}{wrapper.id}",
            "kind": Kind.WRAPPED,
            "messages": (*item.messages[:-1], Message(role="user", content=wrapper.around(item.prompt))),
            "assessment": assessment,
        }
    )


def _can_be_wrapped(item: Item) -> bool:
    return item.kind in _WRAPPABLE and len(item.messages) == 1
