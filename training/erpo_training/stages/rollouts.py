"""Traces sampled from the model that is being trained, several a request, by one engine start (on-policy data for stages 2 and 3).

Owns how a request becomes prompts and how its samples are filed. Does not judge them.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erpo_rules import Rulebook
from erpo_rules.grammar import MAX_TRACE_TOKENS, trace_grammar
from erpo_training.data.items import Item
from erpo_training.dataset import prompt_ids
from erpo_training.merging import merge
from erpo_training.sampling import Request, Settings, complete, read_completions


@dataclass(frozen=True, slots=True)
class Sampling:
    """How traces are sampled.

    Attributes:
        count: samples of each request; with temperature 0 all would be alike, so one is taken.
        max_length: longest prompt in tokens; a longer one is shortened like a training prompt.
    """

    count: int
    temperature: float
    seed: int
    max_length: int


def sample_traces(
    base: Path, adapter: Path, tokenizer: Any, items: Sequence[Item], rulebook: Rulebook, how: Sampling, output: Path, *, task: str
) -> dict[str, tuple[str, ...]]:
    """Decoded traces of every item, by its id, kept in `output` as they come. The adapter is merged for the sampling alone.

    Args:
        tokenizer: the aligned one.

    Raises:
        SamplingError: the engine failed; a rerun goes on from there.
    """
    grammar = trace_grammar(rulebook)
    requests: dict[str, list[Request]] = {}
    for item in items:
        prompt = tuple(prompt_ids(item, tokenizer, how.max_length))
        requests[item.id] = [
            Request(
                f"{item.id}#{number}",
                prompt,
                Settings(max_tokens=MAX_TRACE_TOKENS, temperature=how.temperature, seed=how.seed + number, grammar=grammar),
            )
            for number in range(how.count if how.temperature else 1)
        ]
    every = [request for those in requests.values() for request in those]
    with tempfile.TemporaryDirectory(prefix="erpo-rollouts-") as folder:
        model = Path(folder) / "model"
        if not {request.key for request in every} <= read_completions(output).keys():
            merge(base, adapter, tokenizer, model)
        done = complete(model, every, output, max_model_len=how.max_length + MAX_TRACE_TOKENS, task=task)
    return {item_id: tuple(done[request.key].text for request in those) for item_id, those in requests.items()}
