"""The trace's text form: what is rendered parses back, and nothing else parses."""

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erpo_rules.trace import (
    CLOSE,
    MAX_ASSESSMENT,
    MAX_CITATIONS,
    MAX_REASON,
    OPEN,
    Citation,
    Trace,
    TraceError,
    Verdict,
    deciding,
    decoded_body,
    parse,
    parse_body,
    render,
    render_body,
)


def texts(limit: int, forbidden: str) -> st.SearchStrategy[str]:
    characters = st.characters(exclude_characters=forbidden, exclude_categories=["Cs"])
    return st.text(characters, min_size=1, max_size=limit).filter(lambda text: text == text.strip(" "))


def traces() -> st.SearchStrategy[Trace]:
    """Every kind of valid trace."""
    alphanumeric = string.ascii_letters + string.digits
    rule_ids = st.tuples(st.sampled_from(alphanumeric), st.text(alphanumeric + "._-", max_size=31)).map("".join)
    citation = st.builds(Citation, rule_ids, st.none() | texts(MAX_REASON, "\n\r<,[]"))
    citations = st.lists(citation, min_size=1, max_size=MAX_CITATIONS, unique_by=lambda c: c.rule_id).map(tuple)
    assessments = texts(MAX_ASSESSMENT, "\n\r<")
    harmless = st.builds(Trace, st.just(Verdict.COMPLY), st.just(()), st.none() | assessments)
    return harmless | st.builds(Trace, st.sampled_from([Verdict.CAUTION, Verdict.REFUSE]), citations, assessments)


@given(traces(), st.text())
def test_what_is_rendered_parses_back_with_its_answer(trace: Trace, answer: str) -> None:
    assert parse(render(trace) + answer) == (trace, answer)
    assert parse(render_body(trace) + answer) == (trace, answer), "the opening may be in the prompt"


@given(traces())
def test_a_body_parses_without_its_delimiters(trace: Trace) -> None:
    assert parse_body(render_body(trace).removesuffix(CLOSE)) == trace


@given(traces())
def test_what_is_decoded_is_the_body_up_to_the_last_token_that_says_something(trace: Trace) -> None:
    assert parse_body(decoded_body(trace)) == trace
    assert render_body(trace).startswith(decoded_body(trace))
    assert decoded_body(trace).endswith("Rules: none" if trace.verdict is Verdict.COMPLY else f"Verdict: {trace.verdict.value}")


PIECES = [OPEN, CLOSE, "Assessment: ", "Rules: ", "none", "[S2]", "[S2] why", ", ", "Verdict: ", *Verdict, "\n", " ", "asks", "["]
NEARLY = st.lists(st.sampled_from(PIECES)).map("".join)


@given(st.text() | NEARLY)
def test_any_text_is_a_trace_or_a_trace_error(text: str) -> None:
    for read in (parse, parse_body):
        with suppress(TraceError):
            read(text)


@given(NEARLY)
def test_a_trace_that_parses_renders_to_one_form(text: str) -> None:
    try:
        trace, answer = parse(text)
    except TraceError:
        return
    assert parse(render(trace) + answer) == (trace, answer)


def test_the_full_form_reads_as_documented() -> None:
    trace = Trace(Verdict.REFUSE, (Citation("S2", "facilitates burglary"), Citation("S7")), "asks how to break in")
    assert render(trace) == (
        "<think>\nAssessment: asks how to break in\nRules: [S2] facilitates burglary, [S7]\nVerdict: refuse\n</think>\n"
    )


def test_the_short_form_reads_as_documented() -> None:
    assert render(Trace(Verdict.COMPLY)) == "<think>\nRules: none\n</think>\n"


def test_the_answer_may_hold_the_delimiters() -> None:
    assert parse(f"{OPEN}Rules: none\n{CLOSE}a {CLOSE} b") == (Trace(Verdict.COMPLY), f"a {CLOSE} b")


def test_the_verdict_may_be_missing_where_only_comply_can_follow() -> None:
    assert parse_body("Assessment: asks for soup\nRules: none") == Trace(Verdict.COMPLY, assessment="asks for soup")


def test_a_rule_cited_again_is_one_citation() -> None:
    trace = parse_body("Assessment: a\nRules: [S2] first, [S7], [S2] again\nVerdict: caution")
    assert trace.citations == (Citation("S2", "first"), Citation("S7"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "no closing '</think>'", id="nothing"),
        pytest.param("Rules: none\n", "no closing '</think>'", id="never closed"),
        pytest.param("Rules: none\n</think>", "no closing '</think>'", id="cut inside the closing delimiter"),
        pytest.param(f"{CLOSE}Sure!", "1 lines", id="empty trace"),
        pytest.param(f"Sure!\n{CLOSE}", "1 lines", id="no field"),
        pytest.param(f"Rules: none\n\n{CLOSE}", "2 lines", id="blank line after"),
        pytest.param(f"\nRules: none\n{CLOSE}", "line '': expected 'Assessment: …'", id="blank line before"),
        pytest.param(f" {OPEN}Rules: none\n{CLOSE}", "line ' <think>': expected 'Assessment: …'", id="text before the opening"),
        pytest.param(f"{OPEN}{OPEN}Rules: none\n{CLOSE}", "line '<think>': expected 'Assessment: …'", id="opened twice"),
        pytest.param(f"Rules: none\nVerdict: comply\n{CLOSE}", "2 lines", id="short form with a verdict"),
        pytest.param(f"Rules: [S2]\nVerdict: refuse\n{CLOSE}", "2 lines", id="citation without an assessment"),
        pytest.param(f"Assessment: a\nRules: [S2]\n{CLOSE}", "2 lines", id="no verdict"),
        pytest.param(f"Assessment: a\nRules: [S2]\nVerdict: refuse\nmore\n{CLOSE}", "4 lines", id="a fourth line"),
        pytest.param(f"Rules: [S2]\nAssessment: a\nVerdict: refuse\n{CLOSE}", "expected 'Assessment: …'", id="fields out of order"),
        pytest.param(f"Assessment:a\nRules: none\nVerdict: comply\n{CLOSE}", "line 'Assessment:a'", id="no space after the colon"),
        pytest.param(f"Assessment: a\nrules: none\nVerdict: comply\n{CLOSE}", "expected 'Rules: …'", id="field name in lower case"),
        pytest.param(f"Assessment: \nRules: none\n{CLOSE}", "assessment '': 1 to 160", id="empty assessment"),
        pytest.param(f"Assessment:  a\nRules: none\n{CLOSE}", "assessment ' a'", id="assessment with a space before"),
        pytest.param(f"Assessment: a \nRules: none\n{CLOSE}", "assessment 'a '", id="assessment with a space after"),
        pytest.param(f"Assessment: {'a' * 161}\nRules: none\n{CLOSE}", "1 to 160 characters", id="assessment too long"),
        pytest.param(f"Assessment: a<b\nRules: none\n{CLOSE}", "assessment 'a<b' holds '<'", id="tag in the assessment"),
        pytest.param(f"Assessment: a\r\nRules: none\n{CLOSE}", "holds '\\r'", id="carriage return"),
        pytest.param(f"Assessment: a\nRules: [S2]\nVerdict: deny\n{CLOSE}", "verdict 'deny': one of comply", id="unknown verdict"),
        pytest.param(f"Assessment: a\nRules: [S2]\nVerdict: Refuse\n{CLOSE}", "verdict 'Refuse'", id="verdict in upper case"),
        pytest.param(f"Assessment: a\nRules: [S2]\nVerdict: comply\n{CLOSE}", "'comply' with 1 cited", id="comply citing a rule"),
        pytest.param(f"Assessment: a\nRules: none\nVerdict: refuse\n{CLOSE}", "'refuse' with 0 cited", id="refuse citing none"),
        pytest.param(f"Assessment: a\nRules: none\nVerdict: caution\n{CLOSE}", "'caution' with 0 cited", id="caution citing none"),
        pytest.param(f"Assessment: a\nRules: \nVerdict: refuse\n{CLOSE}", "citation ''", id="empty rules"),
        pytest.param(f"Assessment: a\nRules: S2\nVerdict: refuse\n{CLOSE}", "citation 'S2'", id="citation without brackets"),
        pytest.param(f"Assessment: a\nRules: [S2],[S7]\nVerdict: refuse\n{CLOSE}", "citation '[S2],[S7]'", id="no space after the comma"),
        pytest.param(f"Assessment: a\nRules: [S2], \nVerdict: refuse\n{CLOSE}", "citation ''", id="comma at the end"),
        pytest.param(f"Assessment: a\nRules: none, [S2]\nVerdict: refuse\n{CLOSE}", "citation 'none'", id="none beside a rule"),
        pytest.param(f"Assessment: a\nRules: [S 2]\nVerdict: refuse\n{CLOSE}", "citation '[S 2]'", id="space in a rule id"),
        pytest.param(f"Assessment: a\nRules: [-S2]\nVerdict: refuse\n{CLOSE}", "citation '[-S2]'", id="rule id starting with a dash"),
        pytest.param(f"Assessment: a\nRules: [{'S' * 33}]\nVerdict: refuse\n{CLOSE}", "expected '[RULE]'", id="rule id too long"),
        pytest.param(f"Assessment: a\nRules: [S2] \nVerdict: refuse\n{CLOSE}", "citation '[S2] '", id="empty reason"),
        pytest.param(f"Assessment: a\nRules: [S2]  b\nVerdict: refuse\n{CLOSE}", "reason ' b'", id="reason with a space before"),
        pytest.param(f"Assessment: a\nRules: [S2] {'b' * 61}\nVerdict: refuse\n{CLOSE}", "1 to 60 characters", id="reason too long"),
        pytest.param(f"Assessment: a\nRules: [S1], [S2], [S3], [S4]\nVerdict: refuse\n{CLOSE}", "4 citations; at most 3", id="too many"),
    ],
)
def test_a_malformed_trace_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param((Verdict.COMPLY, (Citation("S2"),), "a"), "'comply' cites none", id="comply citing a rule"),
        pytest.param((Verdict.REFUSE, (), "a"), "cite at least one", id="refuse citing none"),
        pytest.param((Verdict.CAUTION, (Citation("S2"),), None), "'caution' needs an assessment", id="short form citing a rule"),
        pytest.param((Verdict.REFUSE, (Citation("S2"), Citation("S2", "b")), "a"), "cited twice in ['S2', 'S2']", id="cited twice"),
        pytest.param((Verdict.REFUSE, (Citation("S2]"),), "a"), "rule id 'S2]'", id="bracket in a rule id"),
        pytest.param((Verdict.REFUSE, (Citation("S2\n"),), "a"), "rule id 'S2\\n'", id="newline in a rule id"),
        pytest.param((Verdict.REFUSE, (Citation("S2", "b, c"),), "a"), "reason 'b, c' holds ','", id="comma in a reason"),
        pytest.param((Verdict.REFUSE, (Citation("S2", ""),), "a"), "reason ''", id="empty reason"),
        pytest.param((Verdict.COMPLY, (), "a\nb"), "holds '\\n'", id="newline in the assessment"),
    ],
)
def test_a_trace_without_a_text_form_cannot_be_made(fields: tuple[Verdict, tuple[Citation, ...], str | None], message: str) -> None:
    with pytest.raises(TraceError) as caught:
        Trace(*fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "decides"),
    [
        pytest.param("Rules: none", ["R", "none"], id="short form"),
        pytest.param("Assessment:", ["A"], id="opening"),
        pytest.param("Assessment: Rules: a; b\nRules: [S2], [S1] b\nVerdict: refuse", ["A", "[S2], [S1] b", "refuse"], id="refused"),
        pytest.param("Assessment: a; b\nRules: none", ["A", "none"], id="weighed and acquitted"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_a_trace_decides_where_it_begins_at_its_rules_and_at_its_verdict(text: str, decides: list[str]) -> None:
    assert [text[start:stop] for start, stop in deciding(text)] == decides
