"""How readily requests are assessed: a bias on the token with which an assessment begins.

A trace opens with one of two words, `Rules: none` or `Assessment: …`. Where a model was taught the short form for what is harmless, that
word is its verdict, and how sure it must be is a number: logits added to the second word. Above 0 more is assessed, so less harm is missed
and more look-alikes are refused; below 0 the other way about. Server and evaluation both bias the trace by this, and nothing else.
"""

from typing import Any

from erpo_rules.trace import ASSESSING, SHORT

LIMIT = 10.0
"""Greatest strictness, and least with a minus: e^10 to one decides nearly everything by itself."""


class StrictnessError(ValueError):
    """A strictness that cannot be used."""


def opening_bias(tokenizer: Any, strictness: float) -> dict[int, float]:
    """The logits to add while a trace is decoded, by token id; none at 0.

    Raises:
        StrictnessError: out of range, or a tokenizer (transformers) that begins both openings with the same token.
    """
    if not -LIMIT <= strictness <= LIMIT:
        raise StrictnessError(f"strictness {strictness:g}: from {-LIMIT:g} to {LIMIT:g}, in logits; 0 is the adapter's own balance")
    if not strictness:
        return {}
    assessing, short = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (ASSESSING, SHORT))
    if assessing == short:
        raise StrictnessError(
            f"strictness {strictness:g}: this tokenizer begins {ASSESSING!r} and {SHORT!r} with the same token; leave it at 0"
        )
    return {assessing: strictness}
