"""One engine start that completes a file of prompts: run as `python -m erpo_training.sampling JOB.json`, in a process of its own.

So vLLM's memory is free again when it ends, and nothing else here imports vllm. Finished completions are appended chunk by chunk; a job
that is run again goes on where it stopped. Knows token ids and sampling numbers, neither items nor traces.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CHUNK = 128
"""Prompts between two appends."""


class SamplingError(RuntimeError):
    """The engine did not complete the prompts."""


@dataclass(frozen=True, slots=True)
class Request:
    """A tokenised prompt and the key that its completion is filed under."""

    key: str
    prompt: list[int]


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote."""

    key: str
    text: str
    finished: bool
    """Whether the model ended it; false when the limit cut it."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Settings:
    """How to sample."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    grammar: str | None = None
    """EBNF that the completion must match; it ends where the grammar does."""


def complete(
    model: Path, requests: Iterable[Request], settings: Settings, output: Path, *, max_model_len: int = 2048
) -> dict[str, Completion]:
    """Complete every request that `output` does not yet hold; give all of them, by key.

    Raises:
        SamplingError: the engine failed; what it finished is in `output`, and the next call goes on from there.
    """
    wanted = list(requests)
    done = read_completions(output)
    missing = [request for request in wanted if request.key not in done]
    if missing:
        job = output.with_suffix(".job.json")
        plan = {
            "model": str(model),
            "output": str(output),
            "max_model_len": max_model_len,
            "settings": asdict(settings),
            "requests": [asdict(request) for request in missing],
        }
        job.parent.mkdir(parents=True, exist_ok=True)
        job.write_text(json.dumps(plan), encoding="utf-8")
        log = output.with_suffix(".log")
        with log.open("ab") as sink:
            code = subprocess.run(
                [sys.executable, "-m", "erpo_training.sampling", str(job)], env=_environment(), stdout=sink, check=False
            ).returncode
        if code:
            raise SamplingError(f"the sampling engine ended with code {code} before all {len(missing)} prompts were done; its log is {log}")
        job.unlink()
        done = read_completions(output)
    return {request.key: done[request.key] for request in wanted}


def read_completions(output: Path) -> dict[str, Completion]:
    """What a job has finished so far; a line cut by a kill is left out."""
    if not output.exists():
        return {}
    return {completion.key: completion for completion in _whole_lines(output)}


def _whole_lines(output: Path) -> Iterator[Completion]:
    for line in output.read_text(encoding="utf-8").split("\n"):
        try:
            yield Completion(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue


def _environment() -> dict[str, str]:
    """The engine's environment: no plugins (our own server's among them), no reports home, every core."""
    cores = len(os.sched_getaffinity(0))
    defaults = {"VLLM_CPU_OMP_THREADS_BIND": f"0-{cores - 1}", "VLLM_LOGGING_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false"}
    fixed = {"VLLM_PLUGINS": "", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    return defaults | dict(os.environ) | fixed


def _work(job: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    settings = Settings(**job["settings"])
    model = LLM(
        model=job["model"],
        dtype="bfloat16",
        max_model_len=job["max_model_len"],
        max_num_seqs=64,
        gpu_memory_utilization=0.2,
        enforce_eager=True,
        seed=settings.seed,
    )
    structured = StructuredOutputsParams(grammar=settings.grammar) if settings.grammar else None
    params = SamplingParams(
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        seed=settings.seed if settings.temperature else None,
        structured_outputs=structured,
    )
    requests: list[dict[str, Any]] = job["requests"]
    room = job["max_model_len"] - settings.max_tokens
    requests.sort(key=lambda request: len(request["prompt"]))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Path(job["output"]).open("a", encoding="utf-8") as output, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("sampling", total=len(requests))
        for start in range(0, len(requests), CHUNK):
            chunk = requests[start : start + CHUNK]
            results = model.generate([{"prompt_token_ids": r["prompt"][-room:]} for r in chunk], params, use_tqdm=False)
            for request, result in zip(chunk, results, strict=True):
                best = result.outputs[0]
                completion = Completion(request["key"], best.text, best.finish_reason == "stop", len(best.token_ids))
                output.write(json.dumps(asdict(completion), ensure_ascii=False) + "\n")
            output.flush()
            progress.advance(task, len(chunk))


if __name__ == "__main__":
    _work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
