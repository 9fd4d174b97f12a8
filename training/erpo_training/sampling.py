"""One engine start that completes a file of prompts: run as `python -m erpo_training.sampling JOB.json`, in a process of its own.

So vLLM's memory is free again when it ends, and nothing else here imports vllm. Completions are appended as they finish; a job
that is run again goes on where it stopped. Knows token ids and sampling numbers, neither items nor traces.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erpo_training.machine import in_bfloat16
from erpo_training.preload import faster_libraries
from erpo_training.progress import Advance, progress

QUEUED = 512
"""Prompts handed to the engine before the first of them is done."""


class SamplingError(RuntimeError):
    """The engine did not complete the prompts."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to sample."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    grammar: str | None = None
    """EBNF that the completion must match; it ends where the grammar does."""
    bad_words: tuple[str, ...] = ()
    """Texts that the completion may not hold."""
    bias: tuple[tuple[int, float], ...] = ()
    """Logits added to tokens, wherever they could be decoded."""


@dataclass(frozen=True, slots=True)
class Request:
    """A tokenised prompt, how to complete it, and the key that its completion is filed under."""

    key: str
    prompt: tuple[int, ...]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote."""

    key: str
    text: str
    finished: bool
    """Whether the model ended it; false when the limit cut it."""
    tokens: int


def complete(
    model: Path, requests: Iterable[Request], output: Path, *, max_model_len: int = 2048, task: str = "sampling"
) -> dict[str, Completion]:
    """Complete every request that `output` does not yet hold; give all of them, by key.

    Args:
        task: what the progress bar says.

    Raises:
        SamplingError: the engine failed; what it finished is in `output`, and the next call goes on from there.
    """
    wanted = {request.key: request for request in requests}
    done = read_completions(output)
    missing = [request for key, request in wanted.items() if key not in done]
    if missing:
        job = output.with_suffix(".job.json")
        settings = list({request.settings: None for request in missing})
        place = {one: number for number, one in enumerate(settings)}
        plan = {
            "model": str(model),
            "output": str(output),
            "max_model_len": max_model_len,
            "settings": [asdict(one) for one in settings],
            "requests": [{"key": r.key, "prompt": r.prompt, "settings": place[r.settings]} for r in missing],
        }
        job.parent.mkdir(parents=True, exist_ok=True)
        job.write_text(json.dumps(plan), encoding="utf-8")
        log = output.with_suffix(".log")
        _end_last_line(output)
        with log.open("ab") as sink, progress(task, len(missing)) as advance:
            command = [sys.executable, "-m", "erpo_training.sampling", str(job)]
            engine = subprocess.Popen(command, env=engine_environment(), stdout=sink, stderr=sink, start_new_session=True)
            code = _follow(engine, output, advance)
        if code:
            raise SamplingError(f"the sampling engine ended with code {code} before all {len(missing)} prompts were done; its log is {log}")
        job.unlink()
        done = read_completions(output)
    return {key: done[key] for key in wanted}


def read_completions(output: Path) -> dict[str, Completion]:
    """What a job has finished so far; a line cut by a kill is left out."""
    if not output.exists():
        return {}
    return {completion.key: completion for completion in _whole_lines(output)}


def _whole_lines(output: Path) -> Iterator[Completion]:
    for line in output.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            yield Completion(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue


def _follow(engine: "subprocess.Popen[bytes]", output: Path, advance: Advance) -> int:
    """Wait for the engine's end, a step for each line that it writes; give its exit code."""
    try:
        with output.open("rb") as lines:
            lines.seek(0, os.SEEK_END)
            code = None
            while code is None:
                with suppress(subprocess.TimeoutExpired):
                    code = engine.wait(timeout=0.5)
                for _ in range(lines.read().count(b"\n")):
                    advance()
            return code
    finally:
        end_group(engine)


def end_group(process: "subprocess.Popen[Any]") -> None:
    """End a process that leads a session, and whatever it left behind: vLLM's workers outlive a parent that is killed."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def engine_environment() -> dict[str, str]:
    """The engine's environment: no plugins (our own server's among them), no reports home, every core."""
    cores = len(os.sched_getaffinity(0))
    defaults = {"VLLM_CPU_OMP_THREADS_BIND": f"0-{cores - 1}", "VLLM_LOGGING_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false"}
    if preloaded := faster_libraries():
        defaults["LD_PRELOAD"] = preloaded
    fixed = {"VLLM_PLUGINS": "", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    return defaults | dict(os.environ) | fixed


def offline_engine(model: str, max_model_len: int, *, share: float = 1.0) -> Any:
    """vLLM's offline engine (`vllm.LLM`) with the settings that fit this machine; `share` of the memory that one engine may take."""
    import torch
    from vllm import LLM

    accelerated = torch.accelerator.is_available()
    return LLM(
        model=model,
        dtype="bfloat16" if in_bfloat16() else "float32",
        max_model_len=max_model_len,
        max_num_seqs=256 if accelerated else 64,
        gpu_memory_utilization=share * 0.85 if accelerated else 0.2,  # on CPU of the machine's memory, which one engine hardly fills
        enforce_eager=not accelerated,
        enable_chunked_prefill=accelerated,  # a prompt that is split and sampled with a seed ends vLLM's engine on CPU
    )


def sampling_params(settings: Settings) -> Any:
    """The same settings as vLLM takes them."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        seed=settings.seed if settings.temperature else None,
        bad_words=list(settings.bad_words) or None,
        logit_bias=dict(settings.bias) or None,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(grammar=settings.grammar) if settings.grammar else None,
    )


def _settings(given: dict[str, Any]) -> Settings:
    return Settings(
        **{**given, "bad_words": tuple(given["bad_words"]), "bias": tuple((int(token), bias) for token, bias in given.get("bias", ()))}
    )


def _work(job: dict[str, Any]) -> None:
    parent, limit = os.getppid(), int(job["max_model_len"])
    engine = offline_engine(job["model"], limit).llm_engine
    settings = [_settings(one) for one in job["settings"]]
    waiting = iter(sorted(job["requests"], key=lambda request: len(request["prompt"])))
    left = len(job["requests"])
    with Path(job["output"]).open("a", encoding="utf-8") as sink:
        while left:
            if os.getppid() != parent:
                raise SystemExit("whoever asked is gone")
            while engine.get_num_unfinished_requests() < QUEUED and (request := next(waiting, None)):
                how = settings[request["settings"]]
                prompt = request["prompt"][-(limit - how.max_tokens) :]
                engine.add_request(request["key"], {"prompt_token_ids": prompt}, sampling_params(how))
            for result in engine.step():
                if result.finished:
                    best = result.outputs[0]
                    completion = Completion(result.request_id, best.text, best.finish_reason == "stop", len(best.token_ids))
                    sink.write(json.dumps(asdict(completion), ensure_ascii=False) + "\n")
                    sink.flush()
                    left -= 1


def _end_last_line(output: Path) -> None:
    """End a line that a kill cut, so that the next one stands alone; make the file where there is none."""
    with output.open("ab+") as file:
        file.seek(max(0, file.tell() - 1))
        if file.read() not in (b"", b"\n"):
            file.write(b"\n")


if __name__ == "__main__":
    _work(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
