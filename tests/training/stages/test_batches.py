"""The order of the rows: every row once an epoch, and the same whenever the epoch begins."""

from itertools import pairwise

import torch

from erpo_training.stages.batches import EpochOrder

LENGTHS = [(7 * number) % 41 for number in range(120)]


def order(epoch: int, seed: int = 0) -> list[int]:
    return list(EpochOrder(LENGTHS, 4, seed, lambda: epoch))


def test_an_epochs_order_depends_on_seed_and_epoch_alone() -> None:
    first = order(1)
    torch.rand(17)
    assert order(1) == first
    assert sorted(first) == list(range(120))
    assert len({tuple(order(epoch, seed)) for epoch, seed in ((0, 0), (1, 0), (2, 0), (0, 9))}) == 4


def test_rows_of_like_length_stand_together() -> None:
    steps = [[LENGTHS[row] for row in order(0)[start : start + 4]] for start in range(0, 120, 4)]
    assert sum(max(step) - min(step) for step in steps) / len(steps) < 8
    longer = [max(one) < max(other) for one, other in pairwise(steps)]
    assert 8 < sum(longer) < 21, "but not from long to short"


def test_a_batch_that_is_not_whole_comes_last() -> None:
    rows = list(EpochOrder(LENGTHS[:118], 4, 0, lambda: 0))
    assert sorted(rows) == list(range(118))
    spread = [max(LENGTHS[row] for row in rows[n : n + 4]) - min(LENGTHS[row] for row in rows[n : n + 4]) for n in range(0, 116, 4)]
    assert sum(spread) / len(spread) < 8


TWINS = [f"pair {number // 2}" if number < 60 else None for number in range(121)]


def test_twins_share_a_batch_of_like_length() -> None:
    lengths = [LENGTHS[number // 2] + number % 2 for number in range(121)]
    epochs = [list(EpochOrder(lengths, 4, 0, lambda number=number: number, TWINS)) for number in range(2)]  # type: ignore[misc]
    assert epochs[0] != epochs[1]
    for rows in epochs:
        assert sorted(rows) == list(range(121))
        batch = {row: place // 4 for place, row in enumerate(rows)}
        assert all(batch[row] == batch[row + 1] for row in range(0, 60, 2))
        steps = [[lengths[row] for row in rows[start : start + 4]] for start in range(0, 120, 4)]
        assert sum(max(step) - min(step) for step in steps) / len(steps) < 8


def test_every_copy_of_an_item_is_beside_its_twin_while_there_are_any() -> None:
    rows = list(EpochOrder([9] * 6, 2, 0, lambda: 0, ["care", "care", "care", None, None, "care"]))
    beside = [{rows[start], rows[start + 1]} for start in range(0, 6, 2)]
    assert {0, 5} in beside
    assert sorted(rows) == list(range(6))


def test_batches_of_an_odd_size_keep_no_pairs() -> None:
    rows = list(EpochOrder(LENGTHS, 3, 0, lambda: 0, TWINS[:120]))
    assert rows == list(EpochOrder(LENGTHS, 3, 0, lambda: 0))
