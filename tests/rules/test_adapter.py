"""The adapter's manifest is checked before anything is served, and the chat template cannot skip the trace."""

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, StrictUndefined

from erpo_rules.adapter import (
    BASE_FACTS,
    MANIFEST,
    TRACE_FORMAT,
    AdapterError,
    AdapterManifest,
    RulebookIdentity,
    check_base,
    opens_trace,
    read_manifest,
    rulebook_note,
    with_trace_opening,
    without_text,
)
from erpo_rules.rulebook import Rulebook, load_rulebook, parse_rulebook
from erpo_rules.trace import OPEN, Trace, Verdict, render_body

CONFIG = {"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "vocab_size": 49152}
MANIFEST_DATA: dict[str, Any] = {
    "schema": 1,
    "trace_format": TRACE_FORMAT,
    "base": {"name": "HuggingFaceTB/SmolLM2-135M-Instruct", "config": CONFIG},
    "rulebook": {"id": "mlcommons", "version": "1.0.0", "sha256": "0" * 64},
    "recipe": {"seed": 1},
}


def write(folder: Path, data: Any) -> Path:
    (folder / MANIFEST).write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return folder


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, MANIFEST_DATA))
    assert manifest.base.config == CONFIG
    assert manifest.metrics == {}
    write(tmp_path, manifest.model_dump_json(by_alias=True))
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param("{", "Invalid JSON", id="not JSON"),
        pytest.param({**MANIFEST_DATA, "schema": 2}, "field 'schema': Input should be 1", id="later schema"),
        pytest.param({**MANIFEST_DATA, "colour": "red"}, "field 'colour': Extra inputs", id="unknown field"),
        pytest.param({**MANIFEST_DATA, "base": {"name": "x"}}, "field 'base.config': Field required", id="missing field"),
        pytest.param({**MANIFEST_DATA, "trace_format": 99}, f"trace_format 99; this server reads {TRACE_FORMAT}", id="later trace format"),
    ],
)
def test_a_faulty_manifest_names_file_and_field(data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError) as caught:
        read_manifest(write(tmp_path, data))
    assert str(caught.value).startswith(f"{tmp_path / MANIFEST}: ")
    assert message in str(caught.value)


def test_a_folder_without_a_manifest_says_what_an_adapter_is(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"erpo\.json: No such file or directory; an ERPO adapter folder holds erpo\.json"):
        read_manifest(tmp_path)


def test_the_base_that_it_was_trained_on_fits() -> None:
    check_base(AdapterManifest.model_validate(MANIFEST_DATA), {**CONFIG, "torch_dtype": "bfloat16"})


@pytest.mark.parametrize("fact", BASE_FACTS)
def test_another_base_is_refused_with_the_fact_that_differs(fact: str) -> None:
    manifest = AdapterManifest.model_validate(MANIFEST_DATA)
    with pytest.raises(AdapterError, match=rf"SmolLM2-135M-Instruct': its base has {fact} {CONFIG[fact]!r}, this model 'other'"):
        check_base(manifest, {**CONFIG, fact: "other"})
    with pytest.raises(AdapterError, match="this model None"):
        check_base(manifest, {name: value for name, value in CONFIG.items() if name != fact})


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PROMPT = "<|im_start|>user\nHello<|im_end|>\n"


def chat(template: str, **variables: Any) -> str:
    """Render as transformers does."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(template).render(messages=[{"role": "user", "content": "Hello"}], **variables)


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_the_generation_prompt_ends_with_the_opening(end: str) -> None:
    assert chat(with_trace_opening(CHATML + end), add_generation_prompt=True) == f"{PROMPT}<|im_start|>assistant\n{OPEN}"


def test_a_conversation_to_train_on_is_rendered_as_before() -> None:
    assert chat(with_trace_opening(CHATML), add_generation_prompt=False) == PROMPT


@pytest.mark.parametrize("trace", [None, ""])
def test_without_a_finished_trace_the_model_writes_it(trace: str | None) -> None:
    assert chat(with_trace_opening(CHATML), add_generation_prompt=True, erpo_trace=trace).endswith(OPEN)


def test_a_finished_trace_stands_before_the_answer_as_it_is() -> None:
    body = render_body(Trace(Verdict.COMPLY, assessment="asks for {{ braces }} & 'quotes'"))
    rendered = chat(with_trace_opening(CHATML), add_generation_prompt=True, erpo_trace=body)
    assert rendered == f"{PROMPT}<|im_start|>assistant\n{OPEN}{body}"


def test_opening_a_template_twice_changes_nothing() -> None:
    once = with_trace_opening(CHATML)
    assert with_trace_opening(once) == once
    assert with_trace_opening(once + "\n") == once + "\n"
    assert opens_trace(once)
    assert opens_trace(once + "\n"), "editors and files end with a newline"
    assert not opens_trace(CHATML)


def taught(rulebook: Rulebook) -> AdapterManifest:
    identity = RulebookIdentity.of(rulebook).model_dump(mode="json")
    return AdapterManifest.model_validate({**MANIFEST_DATA, "rulebook": identity})


def changed(rulebook: Rulebook, **changes: Any) -> Rulebook:
    return parse_rulebook({**rulebook.model_dump(), **changes}, origin="changed")


def test_the_rulebook_that_it_was_taught_needs_no_note() -> None:
    assert rulebook_note(taught(load_rulebook()), load_rulebook()) is None


def test_another_rulebook_is_told_apart_by_what_it_changes() -> None:
    rulebook = load_rulebook()
    manifest = taught(rulebook)
    first, *others = rulebook.model_dump()["rules"]
    notes = [
        rulebook_note(manifest, changed(rulebook, version="2.0.0")),
        rulebook_note(manifest, rulebook.without("S1")),
        rulebook_note(manifest, changed(rulebook, rules=[{**first, "id": "X1"}, {**first, "id": "X2"}, *others])),
        rulebook_note(manifest, changed(rulebook, rules=[first, *others, {**first, "id": "X1", "enabled": False}])),
    ]
    assert notes[0] == (
        "rulebook 'mlcommons' 2.0.0 is not 'mlcommons' 1.0.0, which the adapter was taught; every rule that it enables was taught, by its "
        "id; measure it before you rely on it"
    )
    assert "is not the text that the adapter was taught under this name" in (notes[1] or "")
    assert "has rules that the adapter was not taught: X1, X2; it may not cite them" in (notes[2] or "")
    assert "X1" not in (notes[3] or "X1"), "a rule that is off is never cited anyway"


def test_an_adapter_from_before_rules_were_kept_says_that_it_does_not_know() -> None:
    manifest = AdapterManifest.model_validate(MANIFEST_DATA)
    assert manifest.rulebook.rules == ()
    assert "which rules were taught is not recorded" in (rulebook_note(manifest, load_rulebook("support-desk")) or "")


def test_a_piece_of_a_template_can_be_cut_out() -> None:
    start = "{% for message in messages %}"
    greeting = "{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}"
    assert without_text(greeting + CHATML, greeting) == CHATML
    assert start in CHATML
    with pytest.raises(AdapterError, match=r"does not hold .*im_start.*correct or remove 'template_without'"):
        without_text(CHATML, greeting)
