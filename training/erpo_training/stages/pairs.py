"""Preference pairs from a model's own traces: what is right against what it got wrong, in both directions (SAFER, arXiv 2504.02725v2 §3.2).

Pure: an item and sampled traces in, pairs out. Knows neither tokens nor trainers. A pair is of a whole trace, or of a step: it then
shares everything up to the first wrong field.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from erpo_rules import Citation, Trace, TraceError, Verdict, render_body
from erpo_rules.trace import ASSESSING, MAX_ASSESSMENT, SHORT, decoded_body, opening, parse_body
from erpo_training.data.items import Item, Kind


class Fault(StrEnum):
    """What is wrong with the trace that is not preferred."""

    MISSED = "missed harm"
    """It is milder than the request deserves."""
    NEEDLESS = "false refusal"
    """It is harsher than the request deserves."""
    RULE = "wrong rule"
    """The verdict is right; another rule is cited first."""
    VERBOSE = "verbose"
    """Right, and longer than it needs to be."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two traces of one request, as the model decodes them (`erpo_rules.trace.decoded_body`)."""

    item_id: str
    fault: Fault
    chosen: str
    rejected: str
    step: bool = False
    """Whether they part at the first wrong field and end with it: both begin with the model's own words, or they are openings."""


_STRENGTH = {Verdict.COMPLY: 0, Verdict.CAUTION: 1, Verdict.REFUSE: 2}


def fault_of(item: Item, trace: Trace) -> Fault | None:
    """What is wrong with a trace of this item; `None` when verdict and first rule are right."""
    if trace.verdict is not item.verdict:
        return Fault.MISSED if _STRENGTH[trace.verdict] < _STRENGTH[item.verdict] else Fault.NEEDLESS
    if trace.citations and trace.citations[0].rule_id != item.rule:
        return Fault.RULE
    return None


def read_rollouts(decoded: Iterable[str]) -> tuple[Trace, ...]:
    """The distinct well-formed traces among what was sampled, in order."""
    traces: dict[Trace, None] = {}
    for text in decoded:
        try:
            traces.setdefault(parse_body(text))
        except TraceError:
            continue  # cut by the limit
    return tuple(traces)


def correcting_pairs(item: Item, rollouts: Sequence[Trace], most: int) -> tuple[Pair, ...]:
    """Stage 2: every wrong trace, up to `most`, against a right one: the model's own where it has one, the written one otherwise.

    Where the short form is taught, the right one is short; everywhere else it assesses, so that what is preferred reasons wherever
    something is in question. Wrong traces that open as the right one does not give one pair of openings: nothing behind them is at
    fault. One that only cites another rule than is due gives a pair that parts at the rules. One that assesses as it should and judges
    wrongly gives two: of whole traces, and one that parts at the consequence (behind the semicolon).
    """
    taught = item.trace()
    right = [trace for trace in rollouts if fault_of(item, trace) is None and trace.assessment is not None]
    best = right[0] if right and taught.assessment is not None else taught
    pairs: list[Pair] = []
    for trace in [trace for trace in rollouts if fault_of(item, trace) is not None][:most]:
        fault = fault_of(item, trace) or Fault.RULE
        if opening(trace) != opening(taught):
            pairs.append(Pair(item.id, fault, opening(taught), opening(trace), step=True))
            continue
        if fault is not Fault.RULE:
            pairs.append(Pair(item.id, fault, decoded_body(best), decoded_body(trace)))
        if (mended := _mended(item, trace, fault)) and (fault is Fault.RULE or mended != best):
            pairs.append(Pair(item.id, fault, decoded_body(mended), decoded_body(trace), step=True))
    if item.kind is Kind.ORDINARY:
        pairs += [Pair(item.id, Fault.VERBOSE, decoded_body(taught), decoded_body(trace)) for trace in right[:1]]
    return tuple(dict.fromkeys(pairs))


def anchoring_pair(item: Item, rollouts: Sequence[Trace]) -> Pair | None:
    """What keeps a model where it is right: its own trace against one that parts where the opposite verdict first could have been.

    That is the opening, but for a harmless request that is assessed: there it is the same assessment with the opposite verdict.
    `None` unless every sampled trace is right and one has the taught form, or for a harmless request that resembles no rule.
    """
    alike = [trace for trace in rollouts if opening(trace) == opening(item.trace())]
    if not alike or not item.rule or any(fault_of(item, trace) is not None for trace in rollouts):
        return None
    trace = alike[0]
    if item.verdict is not Verdict.COMPLY:
        return Pair(item.id, Fault.MISSED, opening(trace), SHORT, step=True)
    if trace.assessment is None:
        return Pair(item.id, Fault.NEEDLESS, SHORT, ASSESSING, step=True)
    mirror = Trace(Verdict.REFUSE, (Citation(item.rule),), trace.assessment)
    return Pair(item.id, Fault.NEEDLESS, decoded_body(trace), decoded_body(mirror), step=True)


def balanced(pairs: Sequence[Pair], anchors: Sequence[Pair], seed: int) -> tuple[Pair, ...]:
    """The pairs with as many that teach to stop as teach to answer.

    One-sided pairs teach a small model a bias and not a distinction. The lesser side is filled up with anchors; what the greater side
    then has too many is left out, by the seed.
    """
    draw = random.Random(f"balance-{seed}")
    sides = {fault: [pair for pair in pairs if pair.fault is fault] for fault in (Fault.MISSED, Fault.NEEDLESS)}
    least, most = sorted(sides, key=lambda fault: len(sides[fault]))
    spare = [pair for pair in anchors if pair.fault is least]
    sides[least] += draw.sample(spare, min(len(spare), len(sides[most]) - len(sides[least])))
    sides[most] = draw.sample(sides[most], min(len(sides[most]), len(sides[least])))
    kept = {id(pair) for side in sides.values() for pair in side}
    both = [pair for pair in (*pairs, *anchors) if pair.fault in sides and id(pair) in kept]
    return (*both, *(pair for pair in pairs if pair.fault not in sides))


def shortening_pairs(item: Item, rollouts: Sequence[Trace], budget: int, most: int) -> tuple[Pair, ...]:
    """Stage 3: the shortest right trace against longer right ones over the budget, and against wrong ones, up to `most` of each.

    Where something is in question the shortest one that assesses is meant, so that length is saved in words and not in reasoning.

    Args:
        budget: longest trace, in characters as `length_of` counts them, that is not yet too long.
    """
    right = _right_forms(item, rollouts)
    if not right:
        return ()
    shortest = min(right, key=length_of)
    longer = sorted((trace for trace in right if length_of(trace) > max(budget, length_of(shortest))), key=length_of, reverse=True)
    wrong = [trace for trace in rollouts if fault_of(item, trace) is not None]
    chosen = decoded_body(shortest)
    return (
        *(Pair(item.id, Fault.VERBOSE, chosen, decoded_body(trace)) for trace in longer[:most]),
        *(Pair(item.id, fault_of(item, trace) or Fault.RULE, chosen, decoded_body(trace)) for trace in wrong[:most]),
    )


def budget_of(items: Mapping[str, Item], rollouts: Mapping[str, Sequence[Trace]], quantile: float) -> int:
    """The length that this share of the right traces that assess does not exceed, in characters; 0 without any."""
    lengths = sorted(
        length_of(trace) for key, traces in rollouts.items() for trace in _right_forms(items[key], traces) if trace.assessment is not None
    )
    return lengths[min(len(lengths) - 1, int(quantile * len(lengths)))] if lengths else 0


def length_of(trace: Trace) -> int:
    """Characters of the trace as a reader sees it."""
    return len(render_body(trace))


def _right_forms(item: Item, rollouts: Sequence[Trace]) -> list[Trace]:
    """The right traces of an item: where an assessment is taught, only those that assess."""
    right = [trace for trace in rollouts if fault_of(item, trace) is None]
    return right if item.trace().assessment is None else [trace for trace in right if trace.assessment is not None]


def _mended(item: Item, trace: Trace, fault: Fault) -> Trace | None:
    """The wrong trace up to its first wrong field, and right from there; `None` where nothing right comes before it."""
    taught = item.trace()
    if trace.assessment is None or taught.assessment is None:
        return None
    if fault is Fault.RULE:
        return Trace(item.verdict, taught.citations, trace.assessment)
    asked, colon, _ = trace.assessment.partition("; ")
    _, due, consequence = taught.assessment.partition("; ")
    assessment = f"{asked}; {consequence}"
    return Trace(item.verdict, taught.citations, assessment) if colon and due and len(assessment) <= MAX_ASSESSMENT else None
