"""`python -m erpo_training.data.lint`: everything that can be wrong with the corpus, all of it at once, and a table of what it holds.

Owns what the corpus must fulfil beyond the form of one line (`erpo_training.data.items`): uniqueness, known rules, lengths, balance.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from erpo_rules import Rulebook, Verdict, load_rulebook
from erpo_training.data.assessed import assessed_prompts, form_faults
from erpo_training.data.items import Item, ItemError, Kind, Wrapper, corpus_files, scan, wrappers_file

NEAR = 0.85
"""Word sets whose Jaccard similarity reaches this are one prompt twice."""

LONGEST_PROMPT = 2400
LEAST_ITEMS = 1200

Placed = tuple[str, Item]
"""`file:line` and the item there."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Corpus:
    """The corpus as it was read, faulty lines apart."""

    items: tuple[Placed, ...]
    wrappers: tuple[tuple[str, Wrapper], ...]
    faults: tuple[str, ...]


def read_corpus() -> Corpus:
    """Read every file of the shipped corpus."""
    items: list[Placed] = []
    wrappers: list[tuple[str, Wrapper]] = []
    faults: list[str] = []
    for file in corpus_files():
        for place, value in scan(file, Item):
            if isinstance(value, ItemError):
                faults.append(str(value))
            else:
                items.append((place, value))
    for place, wrapper in scan(wrappers_file(), Wrapper):
        if isinstance(wrapper, ItemError):
            faults.append(str(wrapper))
        else:
            wrappers.append((place, wrapper))
    return Corpus(tuple(items), tuple(wrappers), tuple(faults))


def lint(corpus: Corpus, rulebook: Rulebook, *, least: int = LEAST_ITEMS) -> list[str]:
    """Every fault of a corpus, one line each."""
    return [
        *corpus.faults,
        *_twice([*((place, item.id) for place, item in corpus.items), *((place, wrapper.id) for place, wrapper in corpus.wrappers)]),
        *(fault for placed in corpus.items for fault in _line_faults(*placed, rulebook)),
        *near_duplicates(corpus.items),
        *_third_party(rulebook),
        *_balance([item for _, item in corpus.items], rulebook, least),
    ]


def near_duplicates(items: Sequence[Placed]) -> list[str]:
    """Pairs of items of one kind whose conversations have nearly the same words."""
    faults: list[str] = []
    groups: dict[Kind, list[tuple[str, Item, frozenset[str]]]] = defaultdict(list)
    for place, item in items:
        words = frozenset(_WORD.findall(" ".join(message.content for message in item.messages).lower()))
        groups[item.kind].append((place, item, words))
    for group in groups.values():
        # Rarest words first: two sets this similar must share one of each set's first few, so only those are looked up.
        frequency = Counter(word for _, _, words in group for word in words)
        seen: dict[str, list[int]] = defaultdict(list)
        for index, (place, item, words) in enumerate(group):
            rare = sorted(words, key=lambda word: (frequency[word], word))
            prefix = rare[: len(rare) - int(NEAR * len(rare)) + 1]
            for other in sorted({i for word in prefix for i in seen[word]}):
                twin_place, twin, twin_words = group[other]
                likeness = len(words & twin_words) / len(words | twin_words)
                if likeness >= NEAR:
                    faults.append(
                        f"{place}: {item.id!r} has {likeness:.0%} of its words in common with {twin.id!r} ({twin_place}); rewrite one"
                    )
            for word in prefix:
                seen[word].append(index)
    return faults


def _twice(ids: Iterable[tuple[str, str]]) -> Iterable[str]:
    first: dict[str, str] = {}
    for place, item_id in ids:
        if item_id in first:
            yield f"{place}: id {item_id!r} is also at {first[item_id]}; give it another"
        first.setdefault(item_id, place)


def _line_faults(place: str, item: Item, rulebook: Rulebook) -> Iterable[str]:
    known = {rule.id: rule for rule in rulebook.rules}
    if item.rule is not None and item.rule not in known:
        yield f"{place}: rule {item.rule!r} is not in rulebook {rulebook.id!r}: one of {', '.join(known)}"
    if item.rule in known and not rulebook.admits(item.trace()):
        yield f"{place}: rule {item.rule!r} may not lead to {item.verdict.value!r}: its action is {known[item.rule].action!r}"
    if (length := max(len(message.content) for message in item.messages)) > LONGEST_PROMPT:
        yield f"{place}: a message of {length} characters; at most {LONGEST_PROMPT}"
    if item.assessment is None and item.kind is not Kind.ORDINARY:
        yield f"{place}: kind {item.kind.value!r} needs an 'assessment'; a recipe may leave it out ('data.weighed'), the corpus may not"
    if item.assessment is not None:
        yield from _wording(place, item.assessment, weighs=item.kind is not Kind.ORDINARY)


def _third_party(rulebook: Rulebook) -> Iterable[str]:
    """Faults of the assessments that were written for third-party prompts."""
    known = {rule.id for rule in rulebook.rules}
    for key, assessed in assessed_prompts().items():
        place = f"assessment of prompt {key}"
        if assessed.rule is not None and assessed.rule not in known:
            yield f"{place}: rule {assessed.rule!r} is not in rulebook {rulebook.id!r}: one of {', '.join(sorted(known))}"
        yield from _wording(place, assessed.assessment, weighs=assessed.rule is not None)


def _wording(place: str, text: str, *, weighs: bool) -> Iterable[str]:
    """What is wrong with an assessment's words; one that `weighs` says what follows from what is asked."""
    return (f"{place}: {fault}" for fault in form_faults(text, weighs=weighs))


def _balance(items: list[Item], rulebook: Rulebook, least: int) -> Iterable[str]:
    if len(items) < least:
        yield f"corpus: {len(items)} items; at least {least}"
    count = Counter((item.rule, item.kind) for item in items)
    for rule in rulebook.rules:
        harmful, cautious, like = (count[rule.id, kind] for kind in (Kind.HARMFUL, Kind.CAUTION, Kind.LOOKALIKE))
        if not harmful and not cautious:
            yield f"corpus: rule {rule.id!r} has neither harmful nor cautious items; write some"
        if like < harmful:
            yield f"corpus: rule {rule.id!r} has {harmful} harmful items and only {like} look-alikes; write at least {harmful - like} more"
    answers = Counter(item.answer for item in items if item.verdict is Verdict.CAUTION)
    yield from (f"corpus: {n} cautious items share the answer {answer!r}; write each its own" for answer, n in answers.items() if n > 1)


def _table(items: Iterable[Item]) -> None:
    from rich.console import Console
    from rich.table import Table

    count = Counter((item.rule or "–", item.kind) for item in items)
    rules = sorted({rule for rule, _ in count}, key=lambda rule: (len(rule), rule))
    kinds = [kind for kind in Kind if kind is not Kind.WRAPPED]
    table = Table("rule", *[kind.value for kind in kinds], "all", title="Items of the corpus")
    for rule in rules:
        row = [count[rule, kind] for kind in kinds]
        table.add_row(rule, *map(str, row), str(sum(row)))
    table.add_section()
    columns = [sum(count[rule, kind] for rule in rules) for kind in kinds]
    table.add_row("all", *map(str, columns), str(sum(columns)))
    Console().print(table)


def main() -> int:
    """Print the table and every fault; 1 when there is one."""
    corpus = read_corpus()
    faults = lint(corpus, load_rulebook())
    _table(item for _, item in corpus.items)
    print(f"{len(corpus.wrappers)} wrappers")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(faults)} faults" if faults else "no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
