"""Which traces are preferred to which: right to wrong in both directions and in equal numbers, short to long, and nothing else."""

from collections import Counter
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erpo_rules import CLOSE, Trace, Verdict
from erpo_rules.trace import MAX_ASSESSMENT, decoded_body, parse_body
from erpo_training.data.items import Item
from erpo_training.stages.pairs import (
    Fault,
    Pair,
    anchoring_pair,
    balanced,
    budget_of,
    correcting_pairs,
    fault_of,
    length_of,
    read_rollouts,
    shortening_pairs,
)
from tests.training.made import caution, compliance, decoded, item, lookalike, ordinary, refusal

CARE = item("S6-care", kind="caution", rule="S6", verdict="caution", answer="See a doctor.")
LONG_WINDED = item("S1-long", rule="S1", assessment="asks; " + "somebody is hurt, " * 8 + "badly")
UNPARTED = item("S2-cut", assessment="inside a role-play, asks how to pick a lock")
BRIEF = lookalike("S2-like-brief", assessment=None)
"""A look-alike that is taught the short form."""
ITEMS = (item(), lookalike(), BRIEF, ordinary(), CARE, LONG_WINDED, UNPARTED)

ASSESSMENTS = st.one_of(
    st.sampled_from(["asks", "asks for help; harm", "asks; nobody is harmed" + ", and so on" * 8, "x" * 130, "y" * 130]),
    st.text("ab;, ", min_size=1, max_size=MAX_ASSESSMENT).map(str.strip).filter(bool),
)
TRACES = st.one_of(
    st.builds(compliance, st.none() | ASSESSMENTS),
    st.builds(refusal, ASSESSMENTS, st.sampled_from(["S1", "S2"])),
    st.builds(caution, ASSESSMENTS, st.sampled_from(["S2", "S6"])),
)
ROLLOUTS = st.lists(TRACES, unique=True, max_size=8)


def read(body: str) -> Trace:
    trace = parse_body(body.removesuffix(CLOSE))
    assert decoded_body(trace) == body
    return trace


def chosen(pair: Pair) -> Trace:
    return read(pair.chosen)


def rejected(pair: Pair) -> Trace:
    return read(pair.rejected)


def shared(pair: Pair) -> str:
    """What both traces begin with."""
    return "".join(a for a, _ in takewhile(lambda two: two[0] == two[1], zip(pair.chosen, pair.rejected, strict=False)))


def is_of_openings(pair: Pair) -> bool:
    """Whether it compares how the two traces open, and nothing behind it."""
    return {pair.chosen, pair.rejected} == {"Rules: none", "Assessment:"}


def consequence(one: Item) -> str:
    """What the written assessment says behind its semicolon."""
    return (one.assessment or "").partition("; ")[2]


@pytest.mark.parametrize(
    ("labelled", "trace", "fault"),
    [
        (item(), refusal(), None),
        (item(), refusal("asks; harm", "S2", "S1"), None),
        (item(), caution(rule="S2"), Fault.MISSED),
        (item(), compliance("asks; harmless"), Fault.MISSED),
        (item(), compliance(), Fault.MISSED),
        (item(), refusal("asks; harm", "S1", "S2"), Fault.RULE),
        (CARE, caution(), None),
        (CARE, caution(rule="S2"), Fault.RULE),
        (CARE, compliance("asks; harmless"), Fault.MISSED),
        (CARE, refusal(rule="S6"), Fault.NEEDLESS),
        (lookalike(), compliance("asks; harmless"), None),
        (lookalike(), compliance(), None),
        (lookalike(), caution(rule="S2"), Fault.NEEDLESS),
        (lookalike(), refusal(), Fault.NEEDLESS),
        (ordinary(), compliance(), None),
        (ordinary(), compliance("asks; harmless"), None),
        (ordinary(), refusal(), Fault.NEEDLESS),
    ],
)
def test_a_trace_is_too_mild_too_harsh_or_of_another_rule(labelled: Item, trace: Trace, fault: Fault | None) -> None:
    assert fault_of(labelled, trace) is fault


@pytest.mark.parametrize("one", ITEMS)
def test_the_written_trace_is_right(one: Item) -> None:
    assert fault_of(one, one.trace()) is None


def test_malformed_rollouts_are_ignored_and_each_trace_is_taken_once() -> None:
    sampled = [decoded(refusal()), "Assessment: asks; ha", "", decoded(compliance()), "Rules: none", decoded(refusal()), "Sure!"]
    assert read_rollouts(sampled) == (refusal(), compliance())


@given(ROLLOUTS)
def test_what_is_sampled_reads_back(traces: list[Trace]) -> None:
    assert read_rollouts([decoded(trace) for trace in traces]) == tuple(traces)


@pytest.mark.parametrize(
    ("labelled", "wrong", "right", "fault"),
    [
        (item(), compliance("asks for a lock; harmless"), refusal("asks for a lock"), Fault.MISSED),
        (CARE, compliance("asks for a lock; harmless"), caution("asks for a lock"), Fault.MISSED),
        (lookalike(), refusal("asks for a lock; burglary"), compliance("asks for paint"), Fault.NEEDLESS),
    ],
)
def test_a_wrong_trace_stands_against_the_models_own_right_one_and_against_its_mended_self(
    labelled: Item, wrong: Trace, right: Trace, fault: Fault
) -> None:
    whole, step = correcting_pairs(labelled, (wrong, right), 4)
    assert whole == Pair(labelled.id, fault, decoded_body(right), decoded_body(wrong))
    assert (step.fault, step.step, step.rejected) == (fault, True, decoded_body(wrong))
    assert (chosen(step).verdict, chosen(step).citations) == (labelled.verdict, labelled.trace().citations)


@pytest.mark.parametrize(
    ("labelled", "wrong"), [(item(), compliance("asks for a lock; harmless; no")), (lookalike(), refusal("asks for a lock; burglary"))]
)
def test_a_wrong_verdict_goes_wrong_at_the_consequence(labelled: Item, wrong: Trace) -> None:
    _, step = correcting_pairs(labelled, (wrong,), 4)
    assert chosen(step).assessment == f"asks for a lock; {consequence(labelled)}"
    assert shared(step) == "Assessment: asks for a lock; "


@pytest.mark.parametrize("right", [(), (refusal("asks for a lock; burglary"),), (refusal("asks"),)])
def test_a_wrong_rule_goes_wrong_at_the_rules_and_is_compared_there_alone(right: tuple[Trace, ...]) -> None:
    (step,) = correcting_pairs(item(), (refusal("asks for a lock; burglary", "S1"), *right), 4)
    assert (step.fault, step.step) == (Fault.RULE, True)
    assert chosen(step) == refusal("asks for a lock; burglary", "S2")
    assert shared(step) == "Assessment: asks for a lock; burglary\nRules: [S"


@pytest.mark.parametrize(
    ("labelled", "wrong"),
    [
        (item(), compliance("asks for a lock, harmless")),
        (UNPARTED, compliance("asks for a lock; harmless")),
        (LONG_WINDED, compliance("asks for a lock; harmless")),
    ],
)
def test_where_no_consequence_can_be_put_right_there_is_no_step(labelled: Item, wrong: Trace) -> None:
    (pair,) = correcting_pairs(labelled, (wrong,), 4)
    assert (pair.step, pair.chosen) == (False, decoded_body(labelled.trace()))


@pytest.mark.parametrize(("over", "steps"), [(0, 1), (1, 0)])
def test_a_mended_assessment_may_be_as_long_as_any(over: int, steps: int) -> None:
    asked = "x" * (MAX_ASSESSMENT + over - len("; " + consequence(item())))
    pairs = correcting_pairs(item(), (compliance(f"{asked}; no"),), 4)
    assert [len(chosen(pair).assessment or "") for pair in pairs if pair.step] == [MAX_ASSESSMENT] * steps


def test_the_short_form_is_not_what_is_preferred_where_something_is_in_question() -> None:
    wrong = refusal("asks; burglary")
    assert correcting_pairs(lookalike(), (compliance(), wrong), 4)[0].chosen == decoded_body(lookalike().trace())
    assessed = compliance("asks for paint; harmless")
    assert correcting_pairs(lookalike(), (compliance(), wrong, assessed), 4)[0].chosen == decoded_body(assessed)


def test_without_a_right_trace_the_written_one_is_preferred() -> None:
    whole, _ = correcting_pairs(item(), (compliance("asks; harmless"),), 4)
    assert whole.chosen == decoded_body(item().trace())


@pytest.mark.parametrize(
    ("labelled", "wrong", "pair"),
    [
        (item(), compliance(), (Fault.MISSED, "Assessment:", "Rules: none")),
        (BRIEF, refusal(), (Fault.NEEDLESS, "Rules: none", "Assessment:")),
        (ordinary(), refusal(), (Fault.NEEDLESS, "Rules: none", "Assessment:")),
    ],
)
def test_a_wrong_opening_stands_against_the_right_one_alone(labelled: Item, wrong: Trace, pair: tuple[Fault, str, str]) -> None:
    fault, right, opened = pair
    assert correcting_pairs(labelled, (wrong,), 4) == (Pair(labelled.id, fault, right, opened, step=True),)


def test_at_most_so_many_wrong_traces_become_pairs() -> None:
    wrong = [compliance(f"asks {number}; harmless") for number in range(5)]
    pairs = correcting_pairs(item(), wrong, 2)
    assert [rejected(pair) for pair in pairs] == [wrong[0], wrong[0], wrong[1], wrong[1]]


@pytest.mark.parametrize("one", ITEMS)
def test_right_traces_alone_give_pairs_only_for_being_wordy_about_an_ordinary_request(one: Item) -> None:
    wordy = compliance("asks; nobody is harmed")
    right = (one.trace(), wordy) if one.verdict is Verdict.COMPLY else (one.trace(),)
    short = Pair(one.id, Fault.VERBOSE, "Rules: none", decoded_body(wordy))
    assert correcting_pairs(one, right, 4) == ((short,) if one.id == ordinary().id else ())


def test_what_is_wordy_about_an_ordinary_request_is_not_preferred_to_what_is_wrong() -> None:
    pairs = correcting_pairs(ordinary(), (compliance("asks; nobody is harmed"), refusal("asks; harm")), 4)
    assert [(pair.fault, pair.step, pair.chosen) for pair in pairs] == [
        (Fault.NEEDLESS, True, "Rules: none"),
        (Fault.VERBOSE, False, "Rules: none"),
    ]


@given(st.sampled_from(ITEMS), ROLLOUTS, st.integers(1, 4))
def test_every_correcting_pair_prefers_right_to_wrong(one: Item, traces: list[Trace], most: int) -> None:
    pairs = correcting_pairs(one, traces, most)
    short = one.trace().assessment is None
    for pair in pairs:
        assert pair.item_id == one.id
        if is_of_openings(pair):
            assert (pair.chosen, pair.rejected) == (("Rules: none", "Assessment:") if short else ("Assessment:", "Rules: none"))
            assert pair.step
            continue
        assert fault_of(one, chosen(pair)) is None
        assert rejected(pair) in traces
        assert fault_of(one, rejected(pair)) is (None if pair.fault is Fault.VERBOSE else pair.fault)
        assert (chosen(pair).assessment is None) == short
        if pair.step and pair.fault is Fault.RULE:
            assert shared(pair).startswith(f"Assessment: {rejected(pair).assessment}\nRules: [")
        elif pair.step:
            asked, _, _ = (rejected(pair).assessment or "").partition("; ")
            assert shared(pair).startswith(f"Assessment: {asked}; ")
            assert chosen(pair).assessment == f"{asked}; {consequence(one)}"
    wrong = [trace for trace in traces if fault_of(one, trace)]
    misopened = [trace for trace in wrong[:most] if (trace.assessment is None) != short]
    assert sum(map(is_of_openings, pairs)) == len({fault_of(one, trace) for trace in misopened})
    closed = {pair.rejected for pair in pairs if pair.fault is not Fault.VERBOSE and not is_of_openings(pair)}
    assert len(closed) == min(most, len(wrong)) - len(misopened)
    whole = [pair for pair in pairs if not pair.step]
    assert not {pair.chosen for pair in whole} & {pair.rejected for pair in whole}, "nothing is preferred here and not there"


@pytest.mark.parametrize(
    ("labelled", "right", "fault", "texts"),
    [
        (item(), refusal("asks; harm", "S2", "S1"), Fault.MISSED, ("Assessment:", "Rules: none")),
        (CARE, caution("asks; distress"), Fault.MISSED, ("Assessment:", "Rules: none")),
        (BRIEF, compliance(), Fault.NEEDLESS, ("Rules: none", "Assessment:")),
        (
            lookalike(),
            compliance("asks; harmless"),
            Fault.NEEDLESS,
            ("Assessment: asks; harmless\nRules: none", "Assessment: asks; harmless\nRules: [S2]\nVerdict: refuse"),
        ),
    ],
)
def test_an_anchor_is_a_right_trace_against_its_opposite_verdict(
    labelled: Item, right: Trace, fault: Fault, texts: tuple[str, str]
) -> None:
    also_right = (compliance(),) if fault is Fault.NEEDLESS else ()
    anchor = anchoring_pair(labelled, (*also_right, right, labelled.trace()))
    assert anchor == Pair(labelled.id, fault, *texts, step=True)


@pytest.mark.parametrize(
    ("labelled", "rollouts"),
    [
        (item(), (refusal(), refusal(rule="S1"))),
        (item(), (refusal(), compliance())),
        (lookalike(), (compliance("asks; harmless"), refusal())),
        (lookalike(), (compliance(),)),
        (lookalike(rule=None), (compliance("asks; harmless"),)),
        (ordinary(), (compliance("asks; harmless"),)),
        (item(), ()),
    ],
)
def test_what_is_wrong_once_or_never_assessed_or_resembles_no_rule_gives_no_anchor(labelled: Item, rollouts: tuple[Trace, ...]) -> None:
    assert anchoring_pair(labelled, rollouts) is None


@given(st.sampled_from(ITEMS), ROLLOUTS)
def test_an_anchor_comes_from_an_item_that_is_right_in_every_sample(one: Item, traces: list[Trace]) -> None:
    anchor = anchoring_pair(one, traces)
    alike = [trace for trace in traces if (trace.assessment is None) == (one.trace().assessment is None)]
    assert (anchor is None) == (not alike or one.rule is None or any(fault_of(one, trace) for trace in traces))
    if anchor:
        assert correcting_pairs(one, traces, 8) == ()
        assert anchor.fault is (Fault.NEEDLESS if one.verdict is Verdict.COMPLY else Fault.MISSED)
        assert anchor.step
        if is_of_openings(anchor):
            assert decoded_body(alike[0]).startswith(anchor.chosen)
        else:
            assert chosen(anchor) == alike[0]
            assert fault_of(one, rejected(anchor)) is anchor.fault
            assert shared(anchor).startswith(f"Assessment: {alike[0].assessment}\nRules: ")


def made(fault: Fault, count: int, kind: str = "pair") -> list[Pair]:
    return [Pair(f"{kind}-{fault}-{number}", fault, "chosen", "rejected") for number in range(count)]


SIDES = (Fault.MISSED, Fault.NEEDLESS)


@given(st.lists(st.sampled_from(Fault), max_size=20), st.lists(st.sampled_from(SIDES), max_size=20), st.integers(0, 3))
def test_both_sides_are_equal_and_what_is_of_neither_stays(faults: list[Fault], spare: list[Fault], seed: int) -> None:
    pairs = [Pair(f"pair-{number}", fault, "chosen", "rejected") for number, fault in enumerate(faults)]
    anchors = [Pair(f"anchor-{number}", fault, "chosen", "rejected") for number, fault in enumerate(spare)]
    found = balanced(pairs, anchors, seed)
    assert found == balanced(pairs, anchors, seed)
    assert len(set(found)) == len(found)
    count = Counter(pair.fault for pair in found)
    assert count[Fault.MISSED] == count[Fault.NEEDLESS]
    assert [pair for pair in found if pair.fault not in SIDES] == [pair for pair in pairs if pair.fault not in SIDES]

    least, most = sorted(SIDES, key=faults.count)
    assert count[least] == min(faults.count(most), faults.count(least) + spare.count(least))
    assert {pair for pair in pairs if pair.fault is least} <= set(found), "of the lesser side nothing is left out"
    assert {pair for pair in found if pair.fault is most} <= set(pairs), "only the lesser side is anchored"
    assert set(found) <= {*pairs, *anchors}


@pytest.mark.parametrize("many", SIDES)
def test_the_lesser_side_is_filled_up_and_the_greater_one_is_cut(many: Fault) -> None:
    (few,) = {*SIDES} - {many}
    pairs = [*made(many, 30), *made(few, 5)]
    assert Counter(pair.fault for pair in balanced(pairs, [], 0)) == {many: 5, few: 5}
    anchors = [*made(few, 10, "anchor"), *made(many, 40, "anchor")]
    assert Counter(pair.fault for pair in balanced(pairs, anchors, 0)) == {many: 15, few: 15}
    enough = balanced(pairs, [*anchors, *made(few, 40, "more")], 0)
    assert Counter(pair.fault for pair in enough) == {many: 30, few: 30}
    assert set(pairs) <= set(enough)


def test_the_seed_says_what_is_left_out_and_which_anchors_are_taken() -> None:
    pairs, anchors = [*made(Fault.MISSED, 30), *made(Fault.NEEDLESS, 2)], made(Fault.NEEDLESS, 20, "anchor")
    for spare in ([], anchors):
        found = [balanced(pairs, spare, seed) for seed in (0, 0, 1)]
        assert found[0] == found[1] != found[2]
    assert balanced(pairs, made(Fault.NEEDLESS, 50, "anchor"), 0) != balanced(pairs, made(Fault.NEEDLESS, 50, "anchor"), 1)


def test_a_side_without_anything_to_set_against_it_is_left_out() -> None:
    wrong_rules = made(Fault.RULE, 3)
    assert balanced([*made(Fault.MISSED, 4), *wrong_rules], made(Fault.MISSED, 4, "anchor"), 0) == tuple(wrong_rules)
    assert balanced([], made(Fault.NEEDLESS, 4, "anchor"), 0) == ()


def test_the_shortest_right_trace_is_preferred_to_long_and_to_wrong_ones() -> None:
    short, middle, long, longest = (refusal("x" * length) for length in (10, 40, 90, 120))
    wrong = compliance("asks; harmless")
    pairs = shortening_pairs(item(), (longest, wrong, short, long, middle), budget=100, most=4)
    assert [(pair.fault, rejected(pair)) for pair in pairs] == [
        (Fault.VERBOSE, longest),
        (Fault.VERBOSE, long),
        (Fault.MISSED, wrong),
    ]
    assert {pair.chosen for pair in pairs} == {decoded_body(short)}


@pytest.mark.parametrize(("budget", "pairs"), [(0, 1), (-1, 1), (1, 0)])
def test_a_trace_of_the_budgets_length_is_not_too_long(budget: int, pairs: int) -> None:
    long = refusal("x" * 90)
    at = length_of(long) - 1 + budget
    assert len(shortening_pairs(item(), (refusal("x"), long), at, 4)) == pairs


def test_at_most_so_many_long_and_so_many_wrong_ones_the_longest_first() -> None:
    right = [refusal("x" * length) for length in (10, 100, 110, 120)]
    wrong = [compliance(f"asks {number}") for number in range(3)]
    pairs = shortening_pairs(item(), (*wrong, *right), 60, 2)
    assert [rejected(pair) for pair in pairs] == [right[3], right[2], wrong[0], wrong[1]]


def test_nothing_is_shortened_where_nothing_is_right() -> None:
    assert shortening_pairs(item(), (compliance(), compliance("asks")), 10, 4) == ()


def test_of_traces_that_are_equally_long_none_is_too_long() -> None:
    assert shortening_pairs(item(), (refusal("x" * 130), refusal("y" * 130)), 60, 4) == ()


def test_an_assessment_is_not_shortened_away_where_something_is_in_question() -> None:
    rollouts = (compliance(), compliance("asks; harmless"), compliance("x" * 100), refusal())
    pairs = shortening_pairs(lookalike(), rollouts, 60, 4)
    assert [(pair.fault, chosen(pair), rejected(pair)) for pair in pairs] == [
        (Fault.VERBOSE, rollouts[1], rollouts[2]),
        (Fault.NEEDLESS, rollouts[1], rollouts[3]),
    ]
    assert shortening_pairs(lookalike(), (compliance(), refusal()), 60, 4) == ()
    for brief in (ordinary(), BRIEF):
        assert {chosen(pair) for pair in shortening_pairs(brief, rollouts, 60, 4)} == {compliance()}


@given(st.sampled_from(ITEMS), ROLLOUTS, st.integers(1, 150), st.integers(1, 4))
def test_every_shortening_pair_prefers_shorter_or_right(one: Item, traces: list[Trace], budget: int, most: int) -> None:
    short = one.trace().assessment is None
    right = [trace for trace in traces if fault_of(one, trace) is None and (short or trace.assessment is not None)]
    for pair in shortening_pairs(one, traces, budget, most):
        assert chosen(pair) in right
        assert length_of(chosen(pair)) == min(map(length_of, right))
        assert rejected(pair) in traces
        assert not pair.step
        if pair.fault is Fault.VERBOSE:
            assert rejected(pair) in right
            assert length_of(rejected(pair)) > max(budget, length_of(chosen(pair)))
        else:
            assert fault_of(one, rejected(pair)) is pair.fault


def test_the_budget_is_the_length_that_a_share_of_the_right_traces_does_not_exceed() -> None:
    harmful, harmless = item(), lookalike()
    rollouts = {
        harmful.id: (*(refusal("x" * length) for length in (10, 20, 30, 40, 50)), compliance("y" * 150), refusal("z" * 150, "S1")),
        harmless.id: (*(compliance("x" * length) for length in (60, 70, 80, 90, 100)), compliance()),
    }
    items = {one.id: one for one in (harmful, harmless)}
    assert [budget_of(items, rollouts, share) - length_of(refusal("x")) + 1 for share in (0.0, 0.5, 0.7, 0.99)] == [10, 60, 80, 100]


@pytest.mark.parametrize("rollouts", [(), (compliance(),), (refusal("x" * 50),)])
def test_without_a_right_trace_that_assesses_there_is_no_budget(rollouts: tuple[Trace, ...]) -> None:
    assert budget_of({lookalike().id: lookalike()}, {lookalike().id: rollouts}, 0.5) == 0


@given(st.dictionaries(st.sampled_from(ITEMS), ROLLOUTS), st.floats(0, 1, exclude_max=True))
def test_at_least_this_share_keeps_to_the_budget(sampled: dict[Item, list[Trace]], quantile: float) -> None:
    budget = budget_of({one.id: one for one in sampled}, {one.id: traces for one, traces in sampled.items()}, quantile)
    right = [trace for one, traces in sampled.items() for trace in traces if fault_of(one, trace) is None and trace.assessment]
    assert budget in map(length_of, right) if right else budget == 0
    assert sum(length_of(trace) <= budget for trace in right) >= quantile * len(right)
