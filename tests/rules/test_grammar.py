"""The grammar and the parser agree: what may be decoded is exactly what parses and the rulebook admits.

"Exactly" up to the two things that are parsed but never decoded: reasons beside rule ids, and text that can only be one thing
(the verdict after `Rules: none`, the closing delimiter).
"""

import random
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erpo_rules.grammar import trace_grammar
from erpo_rules.rulebook import Rulebook, load_rulebook, parse_rulebook
from erpo_rules.trace import CLOSE, MAX_ASSESSMENT, MAX_CITATIONS, Citation, Trace, TraceError, Verdict, parse_body, render_body

xgrammar = pytest.importorskip("xgrammar", reason="comes with vllm")

STOP = 256
BYTES = xgrammar.TokenizerInfo([bytes([b]) for b in range(256)] + [b"</s>"], xgrammar.VocabType.RAW, stop_token_ids=[STOP])


def book(**actions: str) -> Rulebook:
    """A rulebook of these rule ids with these actions; `off` is a disabled rule."""
    texts = dict.fromkeys(("title", "covers", "excludes", "refusal", "source"), "text")
    rules = [
        {"id": rule_id, **texts, "action": "refuse" if action == "off" else action, "enabled": action != "off"}
        for rule_id, action in actions.items()
    ]
    return parse_rulebook({"id": "test", "version": "1.0.0", "title": "Test", "rules": rules}, origin="test")


BOOKS = {
    "default": load_rulebook(),
    "mixed": book(S1="refuse", S10="caution", S2="off", S3="caution"),
    "caution only": book(S1="caution", S10="caution"),
    "one rule": book(S1="refuse", S2="off"),
}
IDS = ("S1", "S10", "S2", "S3", "S99")
books = pytest.mark.parametrize("name", BOOKS)


@cache
def compiled(name: str) -> Any:
    return xgrammar.GrammarCompiler(BYTES).compile_grammar(trace_grammar(BOOKS[name]))


def accepts(name: str, text: str) -> bool:
    """Whether the grammar lets this text be decoded, and lets decoding end after it."""
    matcher = xgrammar.GrammarMatcher(compiled(name))
    return bool(matcher.accept_string(text) and matcher.accept_token(STOP))


def decoded(trace: Trace) -> str:
    """What of a trace the model decodes: its text form without the end that can only be one thing."""
    return render_body(trace).removesuffix("\n" + CLOSE).removesuffix("\nVerdict: comply")


def may_be_decoded(name: str, text: str) -> bool:
    """The same by the parser and the rulebook."""
    try:
        trace = parse_body(text)
    except TraceError:
        return False
    return BOOKS[name].admits(trace) and text == decoded(trace) and all(citation.reason is None for citation in trace.citations)


def assessments() -> st.SearchStrategy[str]:
    characters = st.characters(exclude_characters="\n\r<", exclude_categories=["Cs"])
    return st.text(characters, min_size=1, max_size=MAX_ASSESSMENT).filter(lambda text: text == text.strip(" "))


def traces() -> st.SearchStrategy[Trace]:
    citations = st.lists(st.sampled_from(IDS).map(Citation), min_size=1, max_size=MAX_CITATIONS, unique_by=lambda c: c.rule_id).map(tuple)
    harmless = st.builds(Trace, st.just(Verdict.COMPLY), st.just(()), st.none() | assessments())
    return harmless | st.builds(Trace, st.sampled_from([Verdict.CAUTION, Verdict.REFUSE]), citations, assessments())


@books
@given(trace=traces())
def test_a_trace_may_be_decoded_exactly_when_the_rulebook_admits_it(name: str, trace: Trace) -> None:
    assert accepts(name, decoded(trace)) is BOOKS[name].admits(trace)


@st.composite
def near_traces(draw: st.DrawFn) -> str:
    """Text forms with one piece replaced, removed or doubled."""
    pieces = re.findall(r"\w+|\W", decoded(draw(traces())))
    place = draw(st.integers(0, len(pieces) - 1))
    others = ["", "\n", " ", "  ", "<", "[", "]", "], [S1", "[S1] why", ":", "none", "S2", "refuse", "comply", "Verdict", CLOSE, "é"]
    pieces[place] = draw(st.sampled_from([*others, pieces[place] * 2]))
    return "".join(pieces)


@books
@given(text=near_traces())
def test_a_text_may_be_decoded_exactly_when_it_parses_and_is_admitted(name: str, text: str) -> None:
    cited = re.findall(r"\[([^\]]*)\]", text.rpartition("\nRules: ")[2])
    if len(cited) == len(set(cited)):  # the grammar cannot count: see the test of rules cited twice
        assert accepts(name, text) is may_be_decoded(name, text)


@books
@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_grammar_lets_a_model_decode_is_an_admitted_trace(name: str, seed: int) -> None:
    text = walk(name, random.Random(seed))
    assert BOOKS[name].admits(parse_body(text)), text


def walk(name: str, chance: random.Random) -> str:
    """Decode at random under the grammar's mask, as a model without any sense would, until it must stop."""
    matcher, mask = xgrammar.GrammarMatcher(compiled(name)), xgrammar.allocate_token_bitmask(1, BYTES.vocab_size)
    text = bytearray()
    while True:
        matcher.fill_next_token_bitmask(mask)
        words = mask[0].tolist()
        allowed = [token for token in range(BYTES.vocab_size) if words[token // 32] >> (token % 32) & 1]
        # Otherwise the walk would hardly ever reach the rules: an assessment may end at a newline only.
        token = 10 if 10 in allowed and chance.random() < 0.1 else chance.choice(allowed)
        assert matcher.accept_token(token)
        if token == STOP:
            return text.decode()
        text.append(token)


@books
def test_a_rule_cited_twice_is_decoded_as_one_citation(name: str) -> None:
    text = "Assessment: asks\nRules: [S1], [S1]\nVerdict: caution"
    assert accepts(name, text)
    assert parse_body(text).citations == (Citation("S1"),)


@pytest.mark.parametrize("verdict", ["caution", "refuse"])
def test_a_disabled_rule_is_never_cited(verdict: str) -> None:
    assert accepts("default", f"Assessment: asks\nRules: [S2]\nVerdict: {verdict}")
    without = trace_grammar(BOOKS["default"].without("S2"))
    matcher = xgrammar.GrammarMatcher(xgrammar.GrammarCompiler(BYTES).compile_grammar(without))
    assert matcher.accept_string("Assessment: asks\nRules: [S")
    assert not matcher.accept_string(f"2]\nVerdict: {verdict}")


def test_a_rulebook_of_caution_rules_never_refuses() -> None:
    assert accepts("caution only", "Assessment: asks\nRules: [S1], [S10]\nVerdict: caution")
    assert not accepts("caution only", "Assessment: asks\nRules: [S1], [S10]\nVerdict: refuse")
    assert "refuse" not in trace_grammar(BOOKS["caution only"])


def test_one_rule_that_may_refuse_is_enough_wherever_it_stands() -> None:
    for cited in ("[S1], [S10], [S3]", "[S10], [S1]", "[S10], [S3], [S1]"):
        assert accepts("mixed", f"Assessment: asks\nRules: {cited}\nVerdict: refuse"), cited
    assert not accepts("mixed", "Assessment: asks\nRules: [S10], [S3]\nVerdict: refuse")


@pytest.mark.parametrize("end", ["\n", "\nVerdict: comply", "\n</think>\n", " "])
def test_decoding_ends_where_only_one_thing_can_follow(end: str) -> None:
    for text in ("Rules: none", "Assessment: asks\nRules: none", "Assessment: asks\nRules: [S2]\nVerdict: refuse"):
        assert accepts("default", text)
        assert not accepts("default", text + end)


def test_an_assessment_is_1_to_160_characters_of_any_script() -> None:
    for letter in ("a", "é", "字", "🎈"):
        assert accepts("default", f"Assessment: {letter}\nRules: none")
        assert accepts("default", f"Assessment: {letter * MAX_ASSESSMENT}\nRules: none")
        assert not accepts("default", f"Assessment: {letter * (MAX_ASSESSMENT + 1)}\nRules: none")


@books
def test_the_same_rulebook_gives_the_same_grammar(name: str) -> None:
    assert trace_grammar(BOOKS[name]) == trace_grammar(BOOKS[name].model_copy(deep=True))
