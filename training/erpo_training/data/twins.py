"""Which items are twins: one harmful or delicate, one harmless, as like as their author could make them.

Twins of the corpus have the same id but for a mark: `twins-crime-0007-h` and `-l`, `lang-fr-h02` and `-l02`, `care-self-care-011` and
`-like-011`, `story-004` and `-b`. Knows ids and verdicts, no words.
"""

import re
from collections.abc import Iterable

from erpo_rules import Verdict
from erpo_training.data.items import CORPUS_SOURCE, Item, Kind

MARK = re.compile(r"-[hlb](?=\d|$)|(?<=[a-z])-(?:care|like)(?=-)")
"""Not that of `S6-care-001` and `S6-like-001`, which were written apart."""


def twins(items: Iterable[Item]) -> dict[str, str]:
    """The name of its pair for every item that has its twin among the items, by item id."""
    named: dict[str, dict[str, Item]] = {}
    for item in items:
        if item.source == CORPUS_SOURCE and item.kind is not Kind.WRAPPED:
            named.setdefault(MARK.sub("", item.id), {})[item.id] = item
    return {key: name for name, both in named.items() if _differ(both.values()) for key in both}


def _differ(both: Iterable[Item]) -> bool:
    return sorted(item.verdict is Verdict.COMPLY for item in both) == [False, True]
