"""The engine as the pipeline sees it: an OpenAI-style chat request in, a response or a stream of chunks out.

`vllm_seam.py` has the real one. Tests of the pipeline have a scripted one; the end-to-end tests have none but the real one.
"""

from collections.abc import AsyncGenerator
from typing import Any, Protocol


class ChatEngine(Protocol):
    """Runs chat requests in vLLM's request form. Both calls raise `ApiError` for a request that cannot be served."""

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The tokenizer's control tokens."""
        ...

    def opening_bias(self, strictness: float) -> dict[int, float]:
        """What to add to which token's logit so that traces are as strict (`erpo_rules.strictness`). Raises `StrictnessError`."""
        ...

    def check(self, body: dict[str, Any]) -> None:
        """Validate a request without running it."""
        ...

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Run a request to its end; the whole response."""
        ...

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        """Start a request; the data of its server-sent events, JSON texts, without the closing `[DONE]`. Closing it stops the engine."""
        ...
