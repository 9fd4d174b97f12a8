"""Which items a recipe trains on: the corpus, the chosen third-party sets, wrapped copies of both.

Owns selection and its statistics; every draw follows from the recipe's seed. What a teacher would say of rows that lack an assessment,
and which texts resemble evaluation prompts, is asked of whoever calls.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from erpo_rules import Rulebook, Verdict
from erpo_training.data.assessed import Assessed, prompt_key
from erpo_training.data.items import CORPUS_SOURCE, Item, ItemError, Kind, Wrapper, load_corpus, load_wrappers
from erpo_training.data.reading import Labelled, Origin, assessed_item, read_source, wild_wrappers
from erpo_training.data.sources import SOURCES, WILD
from erpo_training.data.wrapping import wrapped_items
from erpo_training.recipe import Data, SetChoice

Assess = Callable[[Sequence[Labelled]], Mapping[str, Assessed]]
"""What a teacher says of rows, by `prompt_key`; a row whose label it doubts is left out."""

Resembling = Callable[[Mapping[str, tuple[str, ...]]], frozenset[str]]
"""Of texts by an id, the ids of those that resemble what evaluation asks."""

Drawn = TypeVar("Drawn", Item, Labelled)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Items and how they came together. The counts are by source.

    Attributes:
        skipped: rows that fit no rule, were too long or given twice.
        duplicates: third-party prompts that another item already has.
        unassessed: rows left out because nobody wrote an assessment of them.
        doubted: rows left out because the teacher never agreed with their label.
        resembling: items and templates left out because they resemble what evaluation asks.
        origins: where the rows of each set were read.
    """

    items: tuple[Item, ...]
    skipped: dict[str, int]
    duplicates: int
    unassessed: dict[str, int] = field(default_factory=dict)
    doubted: dict[str, int] = field(default_factory=dict)
    resembling: dict[str, int] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)


def gather(
    data: Data,
    folder: Path | None,
    rulebook: Rulebook,
    seed: int,
    *,
    written: Mapping[str, Assessed] | None = None,
    assess: Assess | None = None,
    resembling: Resembling | None = None,
) -> Gathered:
    """Every item of a recipe.

    Args:
        folder: where the third-party sets may lie; what it lacks is loaded from where it is published.
        written: assessments of third-party prompts by `prompt_key`; those of this package when omitted.
        assess: asked about rows that have none; they are left out when omitted.
        resembling: asked which items are too near to what evaluation asks; none when omitted.

    Raises:
        ItemError: data that cannot be used, or none at all.
    """
    items: dict[str, Item] = {}
    if data.corpus:
        items = {_words(item): item for item in load_corpus()}
    reads = {choice.name: read_source(SOURCES[choice.name], folder, written) for choice in data.sets}
    wanted = {choice.name: _drawn(reads[choice.name].labelled, choice, seed) if assess else [] for choice in data.sets}
    taught = assess([row for rows in wanted.values() for row in rows]) if assess else {}
    duplicates = 0
    for choice in data.sets:
        agreed = tuple(assessed_item(row, taught[key]) for row in wanted[choice.name] if (key := prompt_key(row.prompt)) in taught)
        for item in _drawn(reads[choice.name].items + agreed, choice, seed):
            duplicates += items.setdefault(_words(item), item) is not item
    unique = tuple(items.values())
    if not unique:
        raise ItemError("the recipe chooses no item: set 'data.corpus' or name a set under 'data.sets'")
    check_admitted(unique, rulebook)
    origins = {name: read.origin for name, read in reads.items()}
    wrappers: tuple[Wrapper, ...] = load_wrappers() if data.wrapped else ()
    wild: tuple[Wrapper, ...] = ()
    if data.wild:
        wild, origins[WILD.name] = wild_wrappers(folder)
    left_out: frozenset[str] = frozenset()
    near: Counter[str] = Counter()
    if resembling:
        left_out = resembling({item.id: _asked(item) for item in unique} | {one.id: (one.template,) for one in (*wrappers, *wild)})
        near.update(item.source for item in unique if item.id in left_out)
        near.update(CORPUS_SOURCE for one in wrappers if one.id in left_out)
        near.update(WILD.name for one in wild if one.id in left_out)
    bare = tuple(item for item in unique if item.id not in left_out)
    wrapped = wrapped_items(bare, _without(wrappers, left_out), data.wrapped, seed)
    wrapped += wrapped_items(bare, _without(wild, left_out), data.wild, seed + 1)
    everything = briefly(bare + wrapped, data.weighed)
    return Gathered(
        _evenly(everything, data.limit, seed) if data.limit else everything,
        {name: read.skipped for name, read in reads.items()},
        duplicates,
        {name: len(read.labelled) - len(wanted[name]) for name, read in reads.items()},
        {name: sum(prompt_key(row.prompt) not in taught for row in rows) for name, rows in wanted.items()},
        dict(near),
        origins,
    )


def check_admitted(items: tuple[Item, ...], rulebook: Rulebook) -> None:
    """Raises `ItemError` on an item whose trace the rulebook does not admit."""
    for item in items:
        if not rulebook.admits(item.trace()):
            raise ItemError(
                f"item {item.id!r}: rulebook {rulebook.id!r} has no enabled rule {item.rule!r} that may lead to {item.verdict.value!r}; "
                "train with the rulebook that the data was written for"
            )


def statistics(items: tuple[Item, ...]) -> dict[str, dict[str, int]]:
    """Counts by source, kind, verdict and rule."""
    return {
        "source": dict(Counter(item.source for item in items).most_common()),
        "kind": dict(Counter(item.kind.value for item in items).most_common()),
        "verdict": dict(Counter(item.verdict.value for item in items).most_common()),
        "rule cited": dict(sorted(Counter(item.rule or "" for item in items if item.verdict is not Verdict.COMPLY).items())),
    }


def briefly(items: tuple[Item, ...], weighed: float) -> tuple[Item, ...]:
    """The items, the harmless ones without their assessment but for this share: they are then taught the short form."""
    return tuple(
        item.model_copy(update={"assessment": None}) if item.verdict is Verdict.COMPLY and _fraction(item, "weighed") >= weighed else item
        for item in items
    )


def answered(items: tuple[Item, ...], data: Data) -> tuple[Item, ...]:
    """The items whose answer is taught as well as their trace: a share of the cautious, of the ordinary and of the others."""

    def share(item: Item) -> float:
        if item.verdict is Verdict.CAUTION:
            return data.answered_cautious
        return data.answered_ordinary if item.kind is Kind.ORDINARY else data.answered

    return tuple(item for item in items if _fraction(item) < share(item))


def explained(items: tuple[Item, ...], share: float) -> frozenset[str]:
    """Ids of the items whose assessment is taught in words; of the rest only that there is one. Cautious ones always are."""
    return frozenset(item.id for item in items if item.verdict is not Verdict.REFUSE or _fraction(item, "explained") < share)


def _fraction(item: Item, purpose: str = "") -> float:
    """A number in [0, 1) that depends on the item's id, and on what it is drawn for, alone."""
    return int.from_bytes(hashlib.sha256(f"{purpose}{item.id}".encode()).digest()[:4], "big") / 2**32


def _drawn(rows: Sequence[Drawn], choice: SetChoice, seed: int) -> list[Drawn]:
    pool = [row for row in rows if choice.kinds is None or row.kind in choice.kinds]
    if choice.limit is None or choice.limit >= len(pool):
        return pool
    return random.Random(f"{choice.name}-{seed}").sample(pool, choice.limit)


def _without(wrappers: tuple[Wrapper, ...], left_out: frozenset[str]) -> tuple[Wrapper, ...]:
    return tuple(one for one in wrappers if one.id not in left_out)


def _evenly(items: tuple[Item, ...], limit: int, seed: int) -> tuple[Item, ...]:
    """At most `limit` items, from each verdict in turn."""
    draw = random.Random(f"limit-{seed}")
    piles = [[item for item in items if item.verdict is verdict] for verdict in Verdict]
    for pile in piles:
        draw.shuffle(pile)
    turns = (pile[i] for i in range(max(map(len, piles))) for pile in piles if i < len(pile))
    return tuple(item for item, _ in zip(turns, range(limit), strict=False))


def _words(item: Item) -> str:
    return " | ".join(" ".join(message.content.lower().split()) for message in item.messages)


def _asked(item: Item) -> tuple[str, ...]:
    """What a user says in it."""
    return tuple(message.content for message in item.messages if message.role == "user")
