"""The base's tokenizer with the chat template of the aligned model: what prompts are made with, in training as in the server.

Knows nothing of items or traces.
"""

from pathlib import Path
from typing import Any

from erpo_rules.adapter import with_trace_opening, without_text


def aligned_tokenizer(base: Path, without: str | None = None) -> Any:
    """The tokenizer; its template opens the trace, and lacks the text in `without`. Raises `AdapterError` when that is not in it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    template: str = tokenizer.chat_template
    if without:
        template = without_text(template, without)
    tokenizer.chat_template = with_trace_opening(template)
    return tokenizer
