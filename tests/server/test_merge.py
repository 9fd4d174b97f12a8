"""An adapter is merged once into the base it was trained on, and computes the same as it did beside it."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from erpo_rules.adapter import AdapterError, with_trace_opening
from erpo_server import merge
from erpo_server.merge import merged_folder, merged_model

TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}"


def make_base(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{n}": n for n in range(32)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def make_adapter(base: Path, folder: Path) -> Path:
    torch.manual_seed(1)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(LlamaForCausalLM.from_pretrained(base), lora).save_pretrained(folder)
    facts = json.loads((base / "config.json").read_text())
    manifest = {
        "schema": 1,
        "trace_format": 1,
        "base": {"name": "tiny", "config": {k: facts[k] for k in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")}},
        "rulebook": {"id": "mlcommons", "version": "1.0.0", "sha256": "0"},
        "recipe": {},
    }
    (folder / "erpo.json").write_text(json.dumps(manifest))
    (folder / "chat_template.jinja").write_text(with_trace_opening(TEMPLATE))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_adapter(make_base(folder / "base"), folder / "adapter")
    return folder


@pytest.fixture
def base(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERPO_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(made / "base", tmp_path / "base"))


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "adapter", tmp_path / "adapter"))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.arange(32)[None]).logits


def test_the_merged_model_computes_what_the_adapter_computed(base: Path, adapter: Path) -> None:
    folder = merged_model(base, adapter)
    plain = logits(LlamaForCausalLM.from_pretrained(base))
    adapted = logits(PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), adapter))
    merged = LlamaForCausalLM.from_pretrained(folder)
    assert merged.dtype is torch.bfloat16
    torch.testing.assert_close(logits(merged.float()), adapted, atol=0.02, rtol=0.02)
    assert (adapted - plain).abs().max() > 0.2


def test_the_merged_folder_is_complete(base: Path, adapter: Path) -> None:
    folder = merged_model(base, adapter)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "w3"}], tokenize=False, add_generation_prompt=True)
    assert prompt == "w3 <think>\n"
    assert (folder / "erpo.json").read_bytes() == (adapter / "erpo.json").read_bytes()
    assert (folder / "generation_config.json").is_file()


def test_a_second_start_finds_the_merged_model(base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not merged_folder(base, adapter).is_built
    folder = merged_model(base, adapter)
    monkeypatch.setattr(merge, "_merge", lambda *_: pytest.fail("merged twice"))
    assert merged_model(base, adapter) == folder


@pytest.mark.parametrize("change", ["adapter weights", "adapter template", "adapter manifest", "base weights", "base tokenizer"])
def test_a_change_of_content_is_another_model(base: Path, adapter: Path, change: str) -> None:
    before = merged_folder(base, adapter)
    match change:
        case "adapter weights" | "base weights":
            file = adapter / "adapter_model.safetensors" if "adapter" in change else base / "model.safetensors"
            tensors = load_file(file)
            name = min(tensors)
            save_file(tensors | {name: tensors[name] + 1}, file, metadata={"format": "pt"})
        case "adapter template":
            (adapter / "chat_template.jinja").write_text(with_trace_opening(TEMPLATE.replace(" ", "  ")))
        case "adapter manifest":
            (adapter / "erpo.json").write_text((adapter / "erpo.json").read_text().replace("tiny", "other"))
        case "base tokenizer":
            (base / "tokenizer_config.json").write_text("{}")
    assert merged_folder(base, adapter) != before


def test_touching_or_moving_files_changes_nothing(base: Path, adapter: Path, tmp_path: Path) -> None:
    before = merged_folder(base, adapter)
    os.utime(base / "model.safetensors")
    assert merged_folder(base, Path(shutil.copytree(adapter, tmp_path / "moved"))) == before


def test_an_adapter_for_another_architecture_is_refused(base: Path, adapter: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"hidden_size": 20}))
    with pytest.raises(AdapterError, match="hidden_size 16, this model 20"):
        merged_model(base, adapter)


def test_pickled_weights_are_refused(base: Path, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"only 'adapter_model.bin', and a pickle can run code; save the adapter again as safetensors"):
        merged_model(base, adapter)


def test_a_base_without_safetensors_is_refused(base: Path, adapter: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(AdapterError, match=r"no \*\.safetensors"):
        merged_model(base, adapter)


def test_a_template_that_opens_no_trace_is_refused(base: Path, adapter: Path) -> None:
    (adapter / "chat_template.jinja").write_text(TEMPLATE)
    with pytest.raises(AdapterError, match=r"does not end with '<think>\\n', so a model call could skip the trace"):
        merged_model(base, adapter)


def test_missing_files_are_named(base: Path, adapter: Path) -> None:
    for name in ("chat_template.jinja", "adapter_config.json", "adapter_model.safetensors", "erpo.json"):
        (adapter / name).unlink()
        with pytest.raises(AdapterError, match=name):
            merged_model(base, adapter)


def test_a_base_that_is_not_there_is_named(tmp_path: Path, adapter: Path) -> None:
    with pytest.raises(AdapterError, match=r"nowhere.config\.json: No such file"):
        merged_model(tmp_path / "nowhere", adapter)


def test_only_lora_is_merged(base: Path, adapter: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "PROMPT_TUNING"}))
    with pytest.raises(AdapterError, match="peft_type 'PROMPT_TUNING'; only 'LORA'"):
        merged_model(base, adapter)


@pytest.mark.parametrize("fault", ["a missing layer", "another rank", "not finite", "cut off"])
def test_weights_that_do_not_fit_are_refused_and_leave_nothing(base: Path, adapter: Path, fault: str) -> None:
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = min(tensors)
    match fault:
        case "a missing layer":
            del tensors[name]
        case "another rank":
            tensors[name] = torch.zeros(7, 16)
        case "not finite":
            tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_file(tensors, file, metadata={"format": "pt"})
    if fault == "cut off":
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(AdapterError, match="cannot merge"):
        merged_model(base, adapter)
    assert not merged_folder(base, adapter).path.exists()


def test_the_digest_of_a_large_file_is_remembered_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from erpo_server import digest

    monkeypatch.setenv("ERPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digest, "LARGE", 1)
    file = tmp_path / "weights"
    file.write_text("one")
    first = digest.sha256(file)
    monkeypatch.setattr(digest, "_read", lambda _: "read again")
    assert digest.sha256(file) == first
    file.write_text("three")
    assert digest.sha256(file) == "read again"
