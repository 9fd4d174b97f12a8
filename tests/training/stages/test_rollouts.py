"""What is sampled from: the adapter merged into its base, the prompts of training, the rulebook's grammar. The engine is a script here."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from erpo_rules import OPEN, Rulebook
from erpo_rules.grammar import MAX_TRACE_TOKENS, trace_grammar
from erpo_training.dataset import prompt_ids
from erpo_training.merging import merge
from erpo_training.sampling import Completion, Request
from erpo_training.stages import rollouts
from erpo_training.stages.rollouts import Sampling, sample_traces
from erpo_training.template import aligned_tokenizer
from tests.training.made import item, lookalike

# PEFT warns about its own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore")

ITEMS = (item(), lookalike(prompt="How do I " + "x" * 400 + " this?"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that changes its base."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    lora = LoraConfig(r=2, lora_alpha=200, target_modules=["v_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(str(folder))
    return folder


def test_a_merged_model_is_its_base_and_its_adapter_and_opens_the_trace(base: Path, adapter: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merge(base, adapter, aligned_tokenizer(base), tmp_path / "model")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = plain(ids).logits
        adapted = PeftModel.from_pretrained(plain, adapter)(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)(ids).logits
    assert (merged - adapted).abs().max() < (adapted - before).abs().max() / 10
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False)
    assert prompt.endswith(OPEN)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the engine was asked for; it answers every request with its key."""
    seen: dict[str, Any] = {}

    def complete(model: Path, requests: Iterable[Request], output: Path, *, max_model_len: int, task: str) -> dict[str, Completion]:
        assert (model / "config.json").is_file()
        seen.update(model=model, requests=list(requests), output=output, max_model_len=max_model_len, task=task)
        return {request.key: Completion(request.key, f"of {request.key}", True, 1) for request in reversed(seen["requests"])}

    monkeypatch.setattr(rollouts, "complete", complete)
    return seen


def test_every_sample_has_a_key_and_a_seed_of_its_own(
    base: Path, adapter: Path, rulebook: Rulebook, tokenizer: Any, asked: dict[str, Any], tmp_path: Path
) -> None:
    how, output = Sampling(3, 0.7, 40, 300), tmp_path / "rollouts.jsonl"
    found = sample_traces(base, adapter, tokenizer, ITEMS, rulebook, how, output, task="dpo: traces")
    assert found == {one.id: tuple(f"of {one.id}#{number}" for number in range(3)) for one in ITEMS}
    assert (asked["output"], asked["task"], asked["max_model_len"]) == (output, "dpo: traces", 300 + MAX_TRACE_TOKENS)
    assert [(request.key, request.settings.seed) for request in asked["requests"][:3]] == [(f"{ITEMS[0].id}#{n}", 40 + n) for n in range(3)]
    assert {(one.settings.temperature, one.settings.max_tokens, one.settings.grammar) for one in asked["requests"]} == {
        (0.7, MAX_TRACE_TOKENS, trace_grammar(rulebook))
    }
    assert list(asked["requests"][0].prompt) == prompt_ids(ITEMS[0], tokenizer, 300)
    assert 280 < len(asked["requests"][3].prompt) <= 300, "a long prompt is cut as it is in training"
    assert not asked["model"].exists(), "the merged model is there for the sampling alone"


@pytest.mark.parametrize("missing", [0, 1])
def test_the_adapter_is_merged_only_when_a_sample_is_missing(
    base: Path, rulebook: Rulebook, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: int
) -> None:
    def merged(*_: Any) -> None:
        raise RuntimeError("merged")

    monkeypatch.setattr(rollouts, "merge", merged)
    output, keys = tmp_path / "rollouts.jsonl", [f"{one.id}#{number}" for one in ITEMS for number in range(2)]
    done = [Completion(key, f"of {key}", True, 1) for key in keys[missing:]]
    output.write_text("".join(json.dumps(asdict(one)) + "\n" for one in done))

    def sample() -> dict[str, tuple[str, ...]]:
        return sample_traces(base, tmp_path / "none", tokenizer, ITEMS, rulebook, Sampling(2, 1.0, 0, 300), output, task="t")

    if missing:
        with pytest.raises(RuntimeError, match="merged"):
            sample()
    else:
        assert sample() == {one.id: (f"of {one.id}#0", f"of {one.id}#1") for one in ITEMS}


def test_greedy_samples_would_all_be_alike(
    base: Path, adapter: Path, rulebook: Rulebook, tokenizer: Any, asked: dict[str, Any], tmp_path: Path
) -> None:
    found = sample_traces(base, adapter, tokenizer, ITEMS, rulebook, Sampling(3, 0.0, 0, 300), tmp_path / "r.jsonl", task="t")
    assert [len(samples) for samples in found.values()] == [1, 1]
