"""Tokens that decide weigh more in stage 1's loss than tokens of wording.

A trace decides in a few tokens: how it begins, the rules that it cites, its verdict. Beside them stand twenty of wording, and an answer,
each with more to be unsure of than a verdict has: unweighed, most of every gradient is about how things are put. Knows rows and
what a forward pass gives, not the trainer.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from erpo_training.dataset import NO_LOSS, Row

WEIGHTS = "weights"
"""Column of the rows: a weight for every token."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """Weights whose mean over the learnt tokens of the rows is 1, so that the loss keeps its scale and a learning rate its meaning."""

    deciding: float
    wording: float

    @classmethod
    def over(cls, rows: Iterable[Row], deciding: float) -> "Weighing":
        """A token that decides weighs `deciding` times one that does not."""
        learnt = decide = 0
        for row in rows:
            learnt += sum(label != NO_LOSS for label in row.labels)
            decide += len(row.deciding)
        wording = learnt / (learnt + decide * (deciding - 1)) if learnt else 1.0
        return cls(deciding * wording, wording)

    def of(self, row: Row) -> list[float]:
        """A weight for every token of the row."""
        weights = [self.wording] * row.length
        for position in row.deciding:
            weights[position] = self.deciding
        return weights


def collated(collate: Callable[[Sequence[Any]], dict[str, Any]], examples: Sequence[Any]) -> dict[str, Any]:
    """A batch as `collate` makes it, with the examples' weights."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    weights = [torch.tensor(example[WEIGHTS]) for example in examples]
    return {**collate(examples), WEIGHTS: pad_sequence(weights, batch_first=True, padding_value=1.0)}


@contextmanager
def weighed(model: Any, weights: Any) -> Iterator[None]:
    """While it lasts, the log-probabilities that TRL's forward pass gives for its loss are multiplied by these weights.

    Args:
        weights: `(rows, tokens)`. The log-probabilities are `(rows, tokens - 1)`: of every token behind the first.
    """

    def weigh(_: Any, __: Any, outputs: Any) -> Any:
        if hasattr(outputs, "log_probs"):  # not in a forward pass that is asked for logits
            outputs.log_probs = outputs.log_probs * weights[:, 1:].to(outputs.log_probs.device)
        return outputs

    hook = model.register_forward_hook(weigh)
    try:
        yield
    finally:
        hook.remove()
