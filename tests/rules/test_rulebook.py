"""Rulebooks: shipped ones are sound, faulty ones say where, and the identity follows the meaning."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from erpo_rules.rulebook import Rulebook, RulebookError, builtin_rulebooks, load_rulebook, parse_rulebook
from erpo_rules.trace import Citation, Trace, Verdict


def rule(rule_id: str, **fields: Any) -> dict[str, Any]:
    texts = {"title": "A title", "covers": "This.", "excludes": "That.", "refusal": f"I can't help with {rule_id}.", "source": "Test"}
    return {"id": rule_id, "action": "refuse", **texts, **fields}


def data(*rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "house", "version": "1.2.3", "title": "House rules", "rules": list(rules) or [rule("H-1")], **fields}


def book(*rules: dict[str, Any]) -> Rulebook:
    return parse_rulebook(data(*rules), origin="test")


def trace(verdict: Verdict, *rule_ids: str) -> Trace:
    return Trace(verdict, tuple(map(Citation, rule_ids)), "asks")


# The shipped rulebooks


def test_the_default_is_the_fourteen_hazards() -> None:
    default = load_rulebook()
    assert default.id == "mlcommons"
    assert [r.id for r in default.enabled] == [f"S{n}" for n in range(1, 15)]
    assert {r.action for r in default.rules} == {"refuse"}


@pytest.mark.parametrize("name", builtin_rulebooks())
def test_shipped_texts_are_short_and_refusals_recognisable(name: str) -> None:
    shipped = load_rulebook(name)
    assert shipped.id == name
    assert len({r.refusal for r in shipped.rules}) == len(shipped.rules), "each refusal is specific to its rule"
    for r in shipped.rules:
        assert r.refusal.startswith(("I can't help with ", "I won't ")), r.id
        assert len(r.refusal.split()) <= 45, r.id
        assert max(len(r.covers.split()), len(r.excludes.split())) <= 60, r.id


def test_the_self_harm_refusal_names_people_to_turn_to() -> None:
    refusal = load_rulebook().rule("S11").refusal
    assert all(words in refusal for words in ("emergency services", "crisis line", "someone you trust"))


# Faults


@pytest.mark.parametrize(
    ("given_data", "message"),
    [
        pytest.param(data(rule("H-1"), rule("H-2", action="deny")), "rule 'H-2', field 'action': Input should be", id="bad action"),
        pytest.param(data(rule("H-1", refusal=" ")), "rule 'H-1', field 'refusal': String should have at least 1", id="blank text"),
        pytest.param(data(rule("H-1", colour="red")), "rule 'H-1', field 'colour': Extra inputs", id="unknown field"),
        pytest.param(data({"id": "H-1"}), "rule 'H-1', field 'title': Field required", id="missing field"),
        pytest.param(data(rule("H-1"), {"title": "x"}), "rule number 2, field 'id': Field required", id="rule without an id"),
        pytest.param(data(rule("H 1")), "field 'id': String should match", id="space in an id"),
        pytest.param(data(rule("H-1", title="x" * 81)), "field 'title': String should have at most 80", id="title too long"),
        pytest.param(data(rule("H-1"), "H-2"), "rule number 2: Input should be a valid dictionary", id="rule that is a string"),  # type: ignore[arg-type]
        pytest.param(data(rule("H-1"), rule("H-1")), "rulebook: rule ids used twice: H-1", id="id used twice"),
        pytest.param(data(rule("H-1", enabled=False)), "rulebook: no rule is enabled", id="nothing enabled"),
        pytest.param(data(version="1.2"), "field 'version': String should match pattern", id="bad version"),
        pytest.param(data(version=1.2), "field 'version': Input should be a valid string (got 1.2)", id="version that is a number"),
        pytest.param({**data(), "rules": []}, "rulebook: no rule is enabled", id="no rules"),
        pytest.param({**data(), "rules": {"H-1"}}, "rule number 1: Input should be a valid dictionary", id="a set of rules"),
        pytest.param({"rules": []}, "field 'id': Field required", id="no id"),
        pytest.param(None, "rulebook: Input should be a valid dictionary", id="empty file"),
        pytest.param([rule("H-1")], "rulebook: Input should be a valid dictionary", id="rules without a head"),
    ],
)
def test_a_fault_names_file_rule_and_field(given_data: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "house.yaml"
    file.write_text(yaml.safe_dump(given_data), encoding="utf-8")
    with pytest.raises(RulebookError) as caught:
        load_rulebook(file)
    assert f"{file}: " in str(caught.value)
    assert message in str(caught.value)


def test_every_fault_has_its_own_line_and_the_value_given() -> None:
    with pytest.raises(RulebookError) as caught:
        parse_rulebook(data(rule("H-1", action="deny"), rule("H-2", title=7), version="one"), origin="house.yaml")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("house.yaml: ") for line in lines)
    assert [line.rpartition("(got ")[2] for line in lines] == ["'one')", "'deny')", "7)"]


def test_one_fault_in_a_rulebook_of_one_rule_is_one_line() -> None:
    with pytest.raises(RulebookError) as caught:
        parse_rulebook(data(rule("H-1", action="deny")), origin="house.yaml")
    assert str(caught.value) == "house.yaml: rule 'H-1', field 'action': Input should be 'refuse' or 'caution' (got 'deny')"


@pytest.mark.parametrize("text", ["id: [", "a: b: c", "id: \x01", "version: 2025-13-40", "? [a]\n: b", "a: !!python/object:os.system {}"])
def test_what_is_not_yaml_says_so(text: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RulebookError, match="not YAML: ") as caught:
        load_rulebook(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(RulebookError, match=r"rulebook 'mlcomons': No such file .* one of mlcommons, support-desk"):
        load_rulebook("mlcomons")


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes("title: Jugendschutz für alle".encode("latin-1"))
    with pytest.raises(RulebookError, match=r"latin\.yaml.*can't decode byte 0xfc"):
        load_rulebook(file)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "title", "rules", "x"]), inner, max_size=4),
)


@given(JSON_LIKE | st.lists(JSON_LIKE).map(lambda rules: data() | {"rules": rules}))
def test_any_data_is_a_rulebook_or_a_rulebook_error(anything: Any) -> None:
    with suppress(RulebookError):
        parse_rulebook(anything, origin="test")


# Identity


def test_the_hash_does_not_follow_the_layout(tmp_path: Path) -> None:
    file = tmp_path / "house.yaml"
    given_data = data(rule("H-1", covers="Long words that a line may break."), rule("H-2"))
    hashes = set()
    for layout in ({}, {"width": 20, "indent": 6}, {"default_flow_style": True}, {"sort_keys": False}):
        file.write_text(f"# a comment\n{yaml.safe_dump(given_data, **layout)}", encoding="utf-8")
        hashes.add(load_rulebook(file).sha256)
    given_data["rules"][0]["enabled"] = True
    hashes.add(parse_rulebook(given_data, origin="default spelled out").sha256)
    assert len(hashes) == 1


def test_the_hash_follows_every_field_and_the_order() -> None:
    variants = [data(rule("H-1"), rule("H-2")), data(rule("H-2"), rule("H-1"))]
    changes = dict.fromkeys(("id", "title", "covers", "excludes", "refusal", "source"), "x") | {"action": "caution", "enabled": False}
    variants += [data(rule("H-1") | {field: value}, rule("H-2")) for field, value in changes.items()]
    variants += [data(rule("H-1"), rule("H-2"), **{field: value}) for field, value in {"id": "x", "version": "9.9.9", "title": "x"}.items()]
    assert len({parse_rulebook(variant, origin="test").sha256 for variant in variants}) == len(variants)


# Use


def test_a_disabled_rule_is_kept_but_never_cited() -> None:
    house = book(rule("H-1"), rule("H-2"))
    smaller = house.without("H-2")
    assert [r.id for r in smaller.enabled] == ["H-1"]
    assert smaller.rule("H-2").enabled is False
    assert smaller.sha256 != house.sha256
    assert house.admits(trace(Verdict.REFUSE, "H-2"))
    assert not smaller.admits(trace(Verdict.REFUSE, "H-2"))
    assert not smaller.admits(trace(Verdict.CAUTION, "H-1", "H-2"))


def test_disabling_an_unknown_rule_names_it() -> None:
    with pytest.raises(KeyError, match="no rule 'H-9' in rulebook 'house': it has H-1, H-2"):
        book(rule("H-1"), rule("H-2")).without("H-9")


def test_disabling_every_rule_is_an_error() -> None:
    with pytest.raises(RulebookError, match="house without H-1: rulebook: no rule is enabled"):
        book(rule("H-1")).without("H-1")


@pytest.mark.parametrize(
    ("verdict", "cited", "admitted"),
    [
        (Verdict.COMPLY, (), True),
        (Verdict.REFUSE, ("HARD",), True),
        (Verdict.CAUTION, ("HARD",), True),
        (Verdict.CAUTION, ("SOFT",), True),
        (Verdict.REFUSE, ("SOFT",), False),
        (Verdict.REFUSE, ("SOFT", "HARD"), True),
        (Verdict.REFUSE, ("HARD", "SOFT"), True),
        (Verdict.CAUTION, ("OTHER",), False),
        (Verdict.REFUSE, ("HARD", "OFF"), False),
    ],
)
def test_a_verdict_is_admitted_when_the_cited_rules_may_lead_to_it(verdict: Verdict, cited: tuple[str, ...], admitted: bool) -> None:
    house = book(rule("HARD"), rule("SOFT", action="caution"), rule("OFF", enabled=False))
    assert house.admits(trace(verdict, *cited)) is admitted


def test_the_refusal_is_that_of_the_first_cited_rule_that_may_refuse() -> None:
    house = book(rule("SOFT", action="caution"), rule("H-1"), rule("H-2"))
    assert house.refusal((Citation("H-2"), Citation("H-1"))) == "I can't help with H-2."
    assert house.refusal((Citation("SOFT"), Citation("H-1"))) == "I can't help with H-1."
