"""Weights of tokens: their mean, where they fall, and what they do to a loss."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from erpo_training.dataset import NO_LOSS, Row, tokenise
from erpo_training.stages.weighing import WEIGHTS, Weighing, collated, weighed
from tests.training.made import item, lookalike

ROWS = (Row("a", [1, 2, 3, 4], [NO_LOSS, NO_LOSS, 3, 4], (2,)), Row("b", [1, 2, 3], [NO_LOSS, 2, 3], (1,)))


@given(deciding=st.floats(0.1, 50))
def test_the_mean_over_learnt_tokens_is_one(deciding: float) -> None:
    weighing = Weighing.over(ROWS, deciding)
    learnt = [w for row in ROWS for w, label in zip(weighing.of(row), row.labels, strict=True) if label != NO_LOSS]
    assert sum(learnt) / len(learnt) == pytest.approx(1)
    assert weighing.deciding / weighing.wording == pytest.approx(deciding)


def test_without_rows_nothing_is_scaled() -> None:
    assert Weighing.over((), 8) == Weighing(8, 1)


def test_what_decides_is_how_a_trace_begins_the_rule_and_the_verdict(tokenizer: Any) -> None:
    rows = tokenise((item(), lookalike().model_copy(update={"assessment": None})), {}, tokenizer, 512).rows
    text = [tokenizer.decode([row.input_ids[i] for i in row.deciding]) for row in rows]
    assert "S2" in text[0]
    assert "refuse" in text[0]
    assert "none" in text[1]
    assert [row.deciding[0] for row in rows] == [row.labels.count(NO_LOSS) for row in rows], "the first token that is learnt"
    assert len(rows[0].deciding) < sum(label != NO_LOSS for label in rows[0].labels)


def test_a_batch_has_its_weights_and_ones_where_it_is_padded() -> None:
    def collate(examples: Any) -> dict[str, Any]:
        return {"input_ids": torch.zeros(len(examples), 3)}

    batch = collated(collate, [{WEIGHTS: [2.0, 3.0]}, {WEIGHTS: [4.0, 5.0, 6.0]}])
    assert batch[WEIGHTS].tolist() == [[2, 3, 1], [4, 5, 6]]


def test_log_probabilities_are_weighed_while_it_lasts() -> None:
    class Model(torch.nn.Module):
        def forward(self, *, fused: bool) -> Any:
            return SimpleNamespace(log_probs=torch.full((1, 2), -1.0)) if fused else SimpleNamespace(logits=0)

    model = Model()
    with weighed(model, torch.tensor([[9.0, 2.0, 3.0]])):
        assert model(fused=True).log_probs.tolist() == [[-2, -3]]
        assert model(fused=False).logits == 0
    assert model(fused=True).log_probs.tolist() == [[-1, -1]]
