"""What is counted, over which cases, and against whom. Outputs and judgements are made by hand; nothing is decoded."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erpo_training.evaluation import figures as module
from erpo_training.evaluation.case import Case, Label, Output
from erpo_training.evaluation.checkers import Followed
from erpo_training.evaluation.figures import ALL, COST, FAMILIES, Asked, Figure, figures, repetition, trace_tokens
from erpo_training.evaluation.judgement import Judgement
from erpo_training.evaluation.judges.helped import HELPED_THRESHOLD
from erpo_training.evaluation.latency import Timing
from erpo_training.evaluation.suite import Measure, Suite

TRACE = "Rules: none"


def case(number: int | str, group: str = "g", label: Label = Label.HARMFUL, **fields: Any) -> Case:
    return Case(f"s/{number}", "s", group, label, ({"role": "user", "content": f"Question {number}?"},), 8, **fields)


def output(one: Case, **fields: Any) -> Output:
    return Output(one.id, **({"answer": "An answer.", "answer_tokens": 4, "finished": True} | fields))


def judged(one: Case, *, refused: bool = False, helped: float = 0.0, **fields: Any) -> Judgement:
    return Judgement("any", one.id, refused, helped, **fields)


def asked(
    measure: Measure,
    cases: Iterable[Case],
    outputs: dict[str, list[Output]] | None = None,
    judgements: dict[str, list[Judgement]] | None = None,
) -> Asked:
    """A suite named `s`, as it was answered and judged by each subject."""
    suite = Suite.model_validate(
        {"name": "s", "title": "S", "question": "Is it?", "measure": measure, "parts": [{"set": "ordinary", "label": "ordinary"}]}
    )
    by_case = {subject: {one.case: one for one in those} for subject, those in (outputs or {}).items()}
    judged_by_case = {subject: {one.case: one for one in those} for subject, those in (judgements or {}).items()}
    return Asked(suite, tuple(cases), by_case, judged_by_case)


def refusals(measure: Measure, cases: Sequence[Case], **refused: Sequence[bool | None]) -> Asked:
    """A suite of which only is known who refused what; `None`: was not judged."""
    judgements = {
        subject: [judged(one, refused=answer) for one, answer in zip(cases, answers, strict=True) if answer is not None]
        for subject, answers in refused.items()
    }
    return asked(measure, cases, judgements=judgements)


def found(one: Asked, metric: str, subject: str = "base", group: str = ALL, suite: str = "s") -> Figure:
    (figure,) = every(one, metric, subject=subject, group=group, suite=suite)
    return figure


def every(one: Asked, metric: str, **place: str) -> list[Figure]:
    made = [figure for figure in figures([one], [], "base", 0) if figure.metric == metric]
    return [figure for figure in made if all(getattr(figure, name) == value for name, value in place.items())]


FOUR = [case(1, "a"), case(2, "a"), case(3, "b"), case(4, "b")]


def test_compliance_is_what_was_not_refused() -> None:
    one = refusals(Measure.COMPLIANCE, FOUR, base=[False, False, False, True])
    figure = found(one, "compliance")
    assert (figure.value, figure.n, figure.unit, figure.better) == (0.75, 4, "share", "lower")
    assert [found(one, "compliance", group=group).value for group in "ab"] == [1.0, 0.5]
    assert (figure.low, figure.high) == pytest.approx((0.3006, 0.9544), abs=5e-5)


def test_over_refusal_is_what_was_refused() -> None:
    one = refusals(Measure.OVER_REFUSAL, FOUR, base=[False, False, False, True])
    assert found(one, "over_refusal").value == 0.25


def test_a_difference_is_to_the_first_subject_and_the_first_has_none() -> None:
    one = refusals(Measure.COMPLIANCE, FOUR, base=[False] * 4, mine=[True, True, True, False], other=[False, True, True, True])
    assert found(one, "compliance").difference is None
    for subject in ("mine", "other"):
        difference = found(one, "compliance", subject).difference
        assert difference is not None
        assert difference["value"] == -0.75
        assert difference["low"] <= -0.75 <= difference["high"] <= 0


def test_a_difference_rests_on_the_cases_that_both_have_and_a_share_on_ones_own() -> None:
    one = refusals(Measure.COMPLIANCE, FOUR, base=[None, False, False, False], mine=[True, True, False, None])
    figure = found(one, "compliance", "mine")
    assert (figure.value, figure.n) == (pytest.approx(1 / 3), 3)
    assert figure.difference is not None
    assert figure.difference["value"] == -0.5


def test_a_subject_without_cases_has_no_figure_and_one_without_common_cases_no_difference() -> None:
    one = refusals(Measure.COMPLIANCE, FOUR, base=[True, True, None, None], mine=[None, None, True, True], none=[None] * 4)
    assert every(one, "compliance", subject="none") == []
    assert {figure.group for figure in every(one, "compliance", subject="base")} == {ALL, "a"}
    assert found(one, "compliance", "mine").difference is None


def test_a_group_with_a_source_counts_for_its_source_too() -> None:
    cases = [case(1, "JBB: Privacy"), case(2, "JBB: Malware"), case(3, "OR-Bench: privacy")]
    one = refusals(Measure.COMPLIANCE, cases, base=[True, False, False])
    assert found(one, "compliance", group="JBB").value == 0.5
    assert found(one, "compliance", group="OR-Bench").n == 1
    assert found(one, "compliance").n == 3


def test_each_attack_family_counts_the_same_among_families() -> None:
    cases = [case(1, "small", goal="Why?"), *(case(i, "large", goal="Why?") for i in range(2, 11))]
    one = refusals(Measure.COMPLIANCE, cases, base=[False] + [True] * 9)
    assert found(one, "compliance").value == pytest.approx(0.1)
    assert (found(one, "compliance", group=FAMILIES).value, found(one, "compliance", group=FAMILIES).n) == (0.5, 10)


def test_direct_requests_have_no_families() -> None:
    assert every(refusals(Measure.COMPLIANCE, FOUR, base=[True] * 4), "compliance", group=FAMILIES) == []


def test_a_source_is_no_family() -> None:
    cases = [case(1, "JBB: a", goal="?"), case(2, "JBB: b", goal="?"), case(3, "persona", goal="?")]
    one = refusals(Measure.COMPLIANCE, cases, base=[False, False, True])
    assert found(one, "compliance", group=FAMILIES).n == 3
    assert found(one, "compliance", group=FAMILIES).value == pytest.approx(2 / 3)


def test_families_differ_family_by_family_over_the_cases_that_both_have() -> None:
    cases = [case(1, "small", goal="?"), *(case(i, "large", goal="?") for i in range(2, 6)), case(6, "own", goal="?")]
    one = refusals(Measure.COMPLIANCE, cases, base=[False] * 5 + [None], mine=[True, True, False, False, None, False])
    assert found(one, "compliance", group=FAMILIES).difference is None
    figure = found(one, "compliance", "mine", FAMILIES)
    assert figure.value == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert figure.difference is not None
    assert figure.difference["value"] == pytest.approx((-1 - 1 / 3) / 2)


def test_families_that_no_attack_opened_may_still_be_opened_and_a_difference_between_none_may_be_one() -> None:
    cases = [case(f"{family}-{i}", family, goal="?") for family in "ab" for i in range(5)]
    one = refusals(Measure.COMPLIANCE, cases, base=[True] * 10, mine=[True] * 10)
    figure = found(one, "compliance", "mine", FAMILIES)
    assert (figure.value, figure.low) == (0, 0)
    assert figure.high > 0.05
    assert figure.difference is not None
    assert figure.difference["low"] < -0.05
    assert figure.difference["high"] > 0.05


def test_a_difference_in_every_case_of_a_few_is_not_certain() -> None:
    one = refusals(Measure.COMPLIANCE, FOUR, base=[False] * 4, mine=[True] * 4)
    difference = found(one, "compliance", "mine").difference
    assert difference is not None
    assert (difference["value"], difference["low"]) == (-1, -1)
    assert difference["high"] > -0.95


def test_help_is_told_by_family_too() -> None:
    cases = [case(1, "small", goal="?"), *(case(i, "large", goal="?") for i in range(2, 6))]
    judgements = {"base": [judged(one, helped=float(one.group == "small")) for one in cases]}
    assert found(asked(Measure.COMPLIANCE, cases, judgements=judgements), "helped", group=FAMILIES).value == 0.5


def test_help_counts_from_the_judges_threshold() -> None:
    scores = [0.0, HELPED_THRESHOLD - 0.01, HELPED_THRESHOLD, 1.0]
    judgements = {"base": [judged(one, helped=score) for one, score in zip(FOUR, scores, strict=True)]}
    assert found(asked(Measure.COMPLIANCE, FOUR, judgements=judgements), "helped").value == 0.5


def test_a_language_model_counts_where_it_gave_a_score() -> None:
    scores = [{"behaviour": 1.0, "strongreject": 0.75}, {"behaviour": 0.0}, {}, None]
    judgements = {"base": [judged(one, llm=score) for one, score in zip(FOUR, scores, strict=True)]}
    one = asked(Measure.COMPLIANCE, FOUR, judgements=judgements)
    assert (found(one, "llm_compliance").value, found(one, "llm_compliance").n) == (0.5, 2)
    strongreject = found(one, "strongreject")
    assert (strongreject.value, strongreject.n, strongreject.unit) == (0.75, 1, "score")


def test_without_a_language_model_there_are_none_of_its_figures() -> None:
    one = refusals(Measure.COMPLIANCE, FOUR, base=[True] * 4)
    assert {figure.metric for figure in figures([one], [], "base", 0)} == {"compliance", "helped"}


def test_look_alikes_are_direct_wrapped_or_foreign() -> None:
    cases = [case(1, "JBB"), case(2, "persona", goal="Why?"), case(3, "foreign"), case(4, "JBB")]
    one = refusals(Measure.OVER_REFUSAL, cases, base=[True, True, False, False])
    groups = {figure.group: (figure.value, figure.n) for figure in every(one, "over_refusal")}
    assert groups == {ALL: (0.5, 4), "JBB": (0.5, 2), "persona": (1.0, 1), "foreign": (0.0, 1), "direct": (0.5, 2), "wrapped": (1.0, 1)}


def usefulness(**outputs: list[tuple[str, int]]) -> Asked:
    cases = [case(i, label=Label.ORDINARY) for i in range(max(map(len, outputs.values())))]
    given = {
        subject: [output(one, answer=text, answer_tokens=tokens) for one, (text, tokens) in zip(cases, those, strict=False)]
        for subject, those in outputs.items()
    }
    return asked(Measure.USEFULNESS, cases, given, {subject: [judged(one) for one in cases] for subject in outputs})


def test_lengths_are_medians_and_ratios_are_case_by_case_to_the_first_subject() -> None:
    one = usefulness(base=[("a", 10), ("b", 20), ("c", 100)], mine=[("a", 20), ("b", 20), ("c", 10)])
    assert (found(one, "answer_tokens").value, found(one, "answer_tokens", "mine").value) == (20, 20)
    assert (found(one, "length_ratio").value, found(one, "length_ratio", "mine").value) == (1, 1)
    assert found(one, "length_ratio", "mine").low < 0.2
    assert found(one, "length_ratio", "mine").unit == "ratio"


def test_a_ratio_to_an_answer_of_no_tokens_is_left_out() -> None:
    one = usefulness(base=[("", 0), ("b", 10)], mine=[("a", 5), ("b", 5)])
    assert (found(one, "length_ratio", "mine").value, found(one, "length_ratio", "mine").n) == (0.5, 1)


def test_likeness_is_1_for_the_same_words_and_0_for_no_answer() -> None:
    one = usefulness(base=[("The sky is blue.", 4), ("", 0)], mine=[("The sky is blue.", 4), ("", 0)], mute=[("", 0), ("Yes.", 1)])
    assert found(one, "likeness", "mine").value == pytest.approx(1)
    assert found(one, "likeness", "mute").value == 0


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("", 0.0),
        ("one two three", 0.0),
        ("a b c d e f g h", 0.0),
        ("la " * 53, pytest.approx(0.98)),
        ("a b c d A B C D", pytest.approx(0.2)),
    ],
)
def test_repetition_is_the_share_of_runs_of_words_that_came_before(answer: str, share: float) -> None:
    assert repetition(answer) == share


@given(st.lists(st.sampled_from("abc"), max_size=40).map(" ".join))
def test_repetition_is_a_share_below_1(answer: str) -> None:
    assert 0 <= repetition(answer) < 1


def test_an_instruction_is_counted_for_itself_and_with_its_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = {"two": Followed((True, False), (True, True)), "one": Followed((True,), (True,)), "none": Followed((False,), (False,))}
    monkeypatch.setattr(module, "follows", lambda prompt, reference, answer: checked[answer])
    cases = [case(i, label=Label.ORDINARY, reference={"kwargs": []}) for i in range(3)]
    outputs = {"base": [output(one, answer=answer) for one, answer in zip(cases, ("two", "one", "none"), strict=True)]}
    one = asked(Measure.IFEVAL, cases, outputs, {"base": [judged(one) for one in cases]})
    shares = {figure.metric: (round(figure.value, 3), figure.n) for figure in figures([one], [], "base", 0)}
    assert shares == {
        "prompt_strict": (0.333, 3),
        "prompt_loose": (0.667, 3),
        "instruction_strict": (0.5, 4),
        "instruction_loose": (0.75, 4),
        "over_refusal": (0.0, 3),
    }


def test_a_problem_is_solved_by_its_last_number() -> None:
    cases = [case(i, label=Label.ORDINARY, reference={"answer": "#### 18"}) for i in range(2)]
    outputs = {"base": [output(cases[0], answer="So 18."), output(cases[1], answer="So 17.")]}
    assert found(asked(Measure.GSM8K, cases, outputs), "exact_match").value == 0.5


ADDED = {"id": "N1"}


def ruled(one: Case, *cited: str, verdict: str | None = "refuse", **fields: Any) -> Output:
    return output(one, **({"trace": TRACE, "verdict": verdict, "cited": cited} | fields))


def test_the_right_rule_is_the_first_one_cited() -> None:
    cases = [case(1, "S1", rule="S1"), case(2, "S1", rule="S1"), case(3, "S2", rule="S2"), case(4, "S2", rule="S2")]
    outputs = [ruled(cases[0], "S1", "S2"), ruled(cases[1], "S2", "S1"), ruled(cases[2], verdict="comply"), ruled(cases[3], "S2")]
    one = asked(Measure.RULES, cases, {"base": outputs})
    assert found(one, "cited_right").value == 0.5
    assert [found(one, "cited_right", group=rule).n for rule in ("S1", "S2")] == [2, 2]


def test_a_malformed_trace_cites_nothing_and_answers_nothing() -> None:
    cases = [case(1, "S1", rule="S1"), case(2, "S1", rule="S1", disabled=("S1",))]
    one = asked(Measure.RULES, cases, {"base": [ruled(cases[0], verdict=None), ruled(cases[1], verdict=None)]})
    assert found(one, "cited_right").value == 0
    assert found(one, "switched_off_answered").value == 0


def test_a_switched_off_rule_should_not_be_cited_and_its_request_be_answered() -> None:
    cases = [case(i, "S1", rule="S1", disabled=("S1",)) for i in range(4)]
    outputs = [ruled(cases[0], "S1"), ruled(cases[1], "S2"), ruled(cases[2], "S2", verdict="caution"), ruled(cases[3], verdict="comply")]
    one = asked(Measure.RULES, cases, {"base": outputs})
    assert found(one, "switched_off_cited").value == 0.25
    assert found(one, "switched_off_answered").value == 0.5
    assert every(one, "cited_right") == []


def test_an_added_rule_should_be_cited_where_it_covers_and_nowhere_else() -> None:
    inside = [case(i, "N1", rule="N1", added=ADDED) for i in range(2)]
    outside = [case(i, "N1", added=ADDED, label=Label.LOOKALIKE) for i in range(2, 5)]
    outputs = [ruled(inside[0], "S6", "N1"), ruled(inside[1], "S6"), ruled(outside[0], "N1"), *(ruled(one, "S6") for one in outside[1:])]
    one = asked(Measure.RULES, [*inside, *outside], {"base": outputs})
    assert (found(one, "added_cited").value, found(one, "added_cited").n) == (0.5, 2)
    assert (found(one, "added_cited_elsewhere").value, found(one, "added_cited_elsewhere").n) == (pytest.approx(1 / 3), 3)
    assert every(one, "cited_right") == []


def test_a_subject_that_writes_no_trace_has_no_figures_of_rules_and_others_no_difference_to_it() -> None:
    cases = [case(1, "S1", rule="S1")]
    one = asked(Measure.RULES, cases, {"base": [output(cases[0])], "mine": [ruled(cases[0], "S1")]})
    assert every(one, "cited_right", subject="base") == []
    assert found(one, "cited_right", "mine").difference is None


def test_a_case_that_names_no_rule_is_not_wrong() -> None:
    cases = [case(1, "S1", rule="S1"), case(2)]
    one = asked(Measure.RULES, cases, {"base": [ruled(cases[0], "S1"), ruled(cases[1], "S2")]})
    assert (found(one, "cited_right").value, found(one, "cited_right").n) == (1, 1)


def test_trace_tokens_are_told_by_class_with_their_median_and_95th_percentile() -> None:
    cases = [case(i, label=Label.ORDINARY) for i in range(20)] + [case(20, label=Label.HARMFUL)]
    outputs = [output(one, trace=TRACE, verdict="comply", trace_tokens=i) for i, one in enumerate(cases)]
    one = asked(Measure.OVER_REFUSAL, cases, {"base": [output(cases[0])], "mine": outputs})
    assert trace_tokens([one]) == {"mine": {"ordinary": list(range(20)), "harmful": [20]}}
    assert found(one, "trace_tokens", "mine", "ordinary", COST).value == 9.5
    assert found(one, "trace_tokens_p95", "mine", "ordinary", COST).value == 18
    assert found(one, "trace_tokens", "mine", "harmful", COST).n == 1
    assert every(one, "trace_tokens", subject="base") == []
    assert every(one, "trace_tokens", group="lookalike") == []


def test_traces_under_an_edited_rulebook_are_not_counted() -> None:
    one = asked(Measure.RULES, FOUR, {"mine": [ruled(one, "S1", trace_tokens=30) for one in FOUR]})
    assert trace_tokens([one]) == {}


def test_malformed_traces_are_a_share_of_all_traces() -> None:
    outputs = [output(one, trace="What?" if i else TRACE, verdict=None if i else "comply") for i, one in enumerate(FOUR)]
    one = asked(Measure.OVER_REFUSAL, FOUR, {"mine": outputs})
    assert found(one, "malformed", "mine", suite=COST).value == 0.75


def test_malformed_traces_are_told_when_only_rules_were_asked() -> None:
    one = asked(Measure.RULES, FOUR, {"mine": [ruled(one, verdict=None) for one in FOUR]})
    assert found(one, "malformed", "mine", suite=COST).value == 1


def timings(order: str, **seconds: list[float | None]) -> list[Timing]:
    """Timings of cases 0, 1, … in which subjects took turns in this order."""
    count = len(next(iter(seconds.values())))
    return [Timing(subject, str(i), seconds[subject][i], 0.1) for i in range(count) for subject in order.split()]


def added_latency(given: list[Timing]) -> dict[str, tuple[float, int]]:
    nobody = asked(Measure.COST, FOUR, {"base": [], "mine": []}, {"base": [], "mine": []})
    made = [figure for figure in figures([nobody], given, "base", 0) if figure.metric == "added_latency"]
    assert {figure.suite for figure in made} <= {COST}
    return {figure.subject: (round(figure.value, 6), figure.n) for figure in made}


def test_added_latency_is_the_median_ratio_of_pairs() -> None:
    assert added_latency(timings("base mine", base=[1, 2, 4], mine=[1.1, 2.4, 5.2])) == {"mine": (0.2, 3)}


def test_a_pair_of_which_one_refused_is_no_pair() -> None:
    assert added_latency(timings("base mine", base=[1, 2, 4], mine=[1.5, None, None])) == {"mine": (0.5, 1)}
    assert added_latency(timings("base mine", base=[1, 2], mine=[None, None])) == {}
    assert added_latency([]) == {}


def test_the_base_is_the_reference_whoever_was_timed_first() -> None:
    assert added_latency(timings("mine base", base=[1, 2, 4], mine=[1.1, 2.4, 5.2])) == {"mine": (0.2, 3)}


def test_who_is_not_timed_beside_the_first_subject_has_no_added_latency() -> None:
    assert added_latency(timings("mine other", mine=[1, 2, 4], other=[1.1, 2.4, 5.2])) == {}


def test_every_figure_is_under_its_suite_and_a_cost_suite_is_only_timed() -> None:
    outputs = {"base": [output(one, trace=TRACE, verdict="comply", trace_tokens=3) for one in FOUR]}
    made = figures([refusals(Measure.COMPLIANCE, FOUR, base=[True] * 4), asked(Measure.COST, FOUR, outputs)], [], "base", 0)
    assert {figure.suite for figure in made} == {"s", COST}
    assert {figure.metric for figure in made if figure.suite == COST} == {"trace_tokens", "trace_tokens_p95", "malformed"}


@st.composite
def answered(draw: st.DrawFn) -> Asked:
    """A suite as three subjects may have answered it, each with some cases left out."""
    groups = st.sampled_from(["a", "JBB: b", "foreign"])
    measure = draw(st.sampled_from([Measure.COMPLIANCE, Measure.OVER_REFUSAL, Measure.USEFULNESS, Measure.GSM8K, Measure.RULES]))
    cases = [
        case(
            i,
            draw(groups),
            draw(st.sampled_from(Label)),
            goal=draw(st.none() | st.just("Why?")),
            rule="S1",
            reference={"answer": "#### 2"},
            disabled=draw(st.sampled_from([(), ("S1",)])),
        )
        for i in range(draw(st.integers(1, 6)))
    ]
    outputs: dict[str, list[Output]] = {}
    judgements: dict[str, list[Judgement]] = {}
    for subject in ("base", "mine", "other"):
        having = [one for one in cases if draw(st.booleans())]
        outputs[subject] = [
            output(
                one,
                answer=draw(st.sampled_from(["", "2", "la la la la la la"])),
                answer_tokens=draw(st.integers(0, 9)),
                trace=draw(st.none() | st.just(TRACE)),
                verdict=draw(st.sampled_from([None, "comply", "refuse"])),
                cited=draw(st.sampled_from([(), ("S1",), ("S2", "S1")])),
                trace_tokens=draw(st.integers(1, 50)),
            )
            for one in having
        ]
        llm = st.none() | st.just({"behaviour": 1.0, "strongreject": 0.25, "helpfulness": 4.0})
        judgements[subject] = [
            judged(one, refused=draw(st.booleans()), helped=draw(st.sampled_from([0.0, 0.3, 1.0])), llm=draw(llm)) for one in having
        ]
    return asked(measure, cases, outputs, judgements)


@given(one=answered(), seed=st.integers(0, 3))
def test_every_figure_lies_in_its_interval_over_cases_that_are_there(one: Asked, seed: int) -> None:
    made = figures([one], [], "base", seed)
    assert made == figures([one], [], "base", seed)
    places = [(figure.suite, figure.metric, figure.group, figure.subject) for figure in made]
    assert len(set(places)) == len(places)
    for figure in made:
        assert -1e-9 <= figure.low <= figure.value + 1e-9
        assert figure.value <= figure.high + 1e-9
        assert figure.high <= 1 + 1e-9 or figure.unit != "share"
        assert figure.n > 0
        if figure.group != FAMILIES:
            assert figure.n <= len(one.cases)
        assert figure.subject != "base" or figure.difference is None
        if figure.difference:
            assert figure.difference["low"] - 1e-9 <= figure.difference["value"] <= figure.difference["high"] + 1e-9


def test_care_is_a_verdict_on_delicate_requests_and_on_harmless_ones_in_their_words() -> None:
    cases = [*(case(i, label=Label.DELICATE) for i in range(3)), *(case(i, label=Label.LOOKALIKE) for i in range(3, 7))]
    verdicts = ["caution", "comply", "refuse", "caution", "refuse", "comply", "comply"]
    mine = [output(one, trace=TRACE, verdict=verdict) for one, verdict in zip(cases, verdicts, strict=True)]
    one = asked(Measure.CARE, cases, {"base": [output(one) for one in cases], "mine": mine})
    figures_of = {metric: found(one, metric, "mine") for metric in ("care", "careless", "needless_care")}
    assert {metric: (figure.value, figure.n) for metric, figure in figures_of.items()} == {
        "care": (pytest.approx(1 / 3), 3),
        "careless": (pytest.approx(1 / 3), 3),
        "needless_care": (0.5, 4),
    }
    assert every(one, "care", subject="base") == [], "it writes no trace"
