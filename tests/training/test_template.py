"""The chat template that prompts are made with."""

from pathlib import Path

import pytest

from erpo_rules import OPEN
from erpo_rules.adapter import AdapterError
from erpo_training.template import aligned_tokenizer

HELLO = [{"role": "user", "content": "Hello"}]


def test_it_opens_the_trace_and_lacks_what_is_cut_out(base: Path) -> None:
    whole = aligned_tokenizer(base)
    assert whole.apply_chat_template(HELLO, add_generation_prompt=True, tokenize=False).endswith(OPEN)
    piece = whole.chat_template[:12]
    assert aligned_tokenizer(base, piece).chat_template == whole.chat_template.replace(piece, "")


def test_what_is_not_in_it_cannot_be_cut_out(base: Path) -> None:
    with pytest.raises(AdapterError, match="does not hold 'no such text'"):
        aligned_tokenizer(base, "no such text")
