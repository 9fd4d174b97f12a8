"""The order in which rows are trained on: batches of like length, in an order that is drawn anew each epoch, by seed and epoch alone.

transformers' grouping sorts each fifty batches from long to short, and what is short is mostly harmless: the loss would swing with them,
and the model lean to whatever came last. So the batches are shuffled once more.

Twins, a harmful row and a harmless one that is like it, stand in the same batch: what they share cancels in its gradient, and what tells
them apart is left.

transformers' own sampler draws from torch's global generator. A process that goes on in a later epoch has not drawn the earlier ones, and
would see the first epoch's order again: some rows twice, some not at all. Knows lengths and pairs, not rows.
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
        twins: for each row the name of its pair, or none; no pairs when omitted, and none are kept where `size` is odd.
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int, epoch: Callable[[], int], twins: Sequence[str | None] = ()) -> None:
        self._lengths, self._size, self._seed, self._epoch = list(lengths), size, seed, epoch
        self._pairs = [] if size % 2 else _pairs(twins)

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch())
        rows = self._in_twos(generator) if self._pairs else _grouped(self._lengths, self._size, generator)
        whole = len(rows) // self._size
        for batch in torch.randperm(whole, generator=generator).tolist():
            yield from rows[batch * self._size : (batch + 1) * self._size]
        yield from rows[whole * self._size :]

    def _in_twos(self, generator: torch.Generator) -> list[int]:
        """Grouped by length two by two: twins, and the others with one of about their length. A row that is left over comes last."""
        paired = {row for pair in self._pairs for row in pair}
        alone = [row for row in range(len(self)) if row not in paired]
        near = [alone[i] for i in _grouped([self._lengths[row] for row in alone], 2, generator)]
        twos = [*self._pairs, *zip(near[::2], near[1::2], strict=False)]
        grouped = _grouped([max(self._lengths[row] for row in two) for two in twos], self._size // 2, generator)
        return [row for i in grouped for row in twos[i]] + near[len(near) // 2 * 2 :]


def order_of(trainer: Any) -> EpochOrder:
    """The order for a transformers trainer whose training rows have a column `length`, and perhaps `twins`: names of pairs."""
    args, rows = trainer.args, trainer.train_dataset
    size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    twins = rows["twins"] if "twins" in rows.column_names else ()
    return EpochOrder(rows["length"], size, args.seed, lambda: int(trainer.state.epoch), twins)


def _pairs(twins: Sequence[str | None]) -> list[tuple[int, int]]:
    """The rows of each name two by two, from both ends: copies of an item stand side by side, and its twin's behind or before them."""
    named: dict[str, list[int]] = {}
    for row, name in enumerate(twins):
        if name is not None:
            named.setdefault(name, []).append(row)
    return [(rows[i], rows[-1 - i]) for rows in named.values() for i in range(len(rows) // 2)]


def _grouped(lengths: Sequence[int], size: int, generator: torch.Generator) -> list[int]:
    rows: list[int] = get_length_grouped_indices(lengths, size, generator=generator) if lengths else []
    return rows
