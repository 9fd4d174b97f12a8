"""The order in which rows are trained on: batches of like length, in an order that is drawn anew each epoch, by seed and epoch alone.

transformers' grouping sorts each fifty batches from long to short, and what is short is mostly harmless: the loss would swing with them,
and the model lean to whatever came last. So the batches are shuffled once more.

transformers' own sampler draws from torch's global generator. A process that goes on in a later epoch has not drawn the earlier ones, and
would see the first epoch's order again: some rows twice, some not at all. Knows lengths, not rows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class EpochOrder(Sampler):  # type: ignore[misc]
    """Gives the same order for the same epoch, whatever was drawn before.

    Args:
        lengths: tokens of each row.
        size: rows of one step.
        epoch: the epoch that begins, from 0.
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._size, self._seed, self._epoch = list(lengths), size, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch())
        rows = get_length_grouped_indices(self._lengths, self._size, generator=generator)
        whole = len(rows) // self._size
        for batch in torch.randperm(whole, generator=generator).tolist():
            yield from rows[batch * self._size : (batch + 1) * self._size]
        yield from rows[whole * self._size :]


def order_of(trainer: Any) -> EpochOrder:
    """The order for a transformers trainer whose training rows have a column `length`."""
    args = trainer.args
    size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    return EpochOrder(trainer.train_dataset["length"], size, args.seed, lambda: int(trainer.state.epoch))
