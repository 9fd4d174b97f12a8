"""What comes out of vLLM's classes at our seam; its chat handler is a stand-in, its requests and errors are the real ones."""

import asyncio
import json
from collections.abc import AsyncGenerator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from erpo_server.engine import ChatEngine
from erpo_server.errors import ApiError

MESSAGES = [{"role": "user", "content": "Hello"}]


class Handler:
    """In the place of `OpenAIServingChat`: answers every request with `outcome`."""

    chat_template = None

    def __init__(self, outcome: Any = None) -> None:
        added = {"<|im_end|>": 2, "<tool_call>": 3, "\n\n": 4, "        ": 5, "x": 6}
        tokenizer = SimpleNamespace(all_special_tokens=["<|im_end|>"], get_added_vocab=lambda: added, chat_template="{{ messages }}")
        self.renderer = SimpleNamespace(tokenizer=tokenizer)
        self.outcome = outcome

    async def create_chat_completion(self, request: Any) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def engine(vllm_seam: ModuleType) -> ChatEngine:
    found: ChatEngine = vllm_seam.VllmChatEngine(Handler())
    return found


def test_control_tokens_are_those_that_are_not_white_space(engine: ChatEngine) -> None:
    assert engine.special_tokens == ("<tool_call>", "<|im_end|>")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"min_tokens": 5},
        {"min_tokens": 5, "max_tokens": 9},
        {"min_tokens": 5, "max_completion_tokens": 9},
        {"logprobs": True, "top_logprobs": 3, "stop": ["x"], "seed": 1, "n": 2, "logit_bias": {"5": -100}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
        {"stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_settings_that_vllm_takes_pass_the_check(engine: ChatEngine, settings: dict[str, Any]) -> None:
    engine.check({"messages": MESSAGES, **settings})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {"min_tokens": 9, "max_tokens": 5},
        {"min_tokens": 9, "max_completion_tokens": 5},
        {"temperature": -1},
        {"temperature": 0, "n": 2},
        {"top_p": 7},
        {"top_k": "x"},
        {"stop": [""]},
        {"top_logprobs": 3},
        {"stream_options": {"include_usage": True}},
        {"structured_outputs": "x"},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "nonsense"}},
        {"tools": []},
        {"tools": [{}], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": "x", "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": "required"},
    ],
)
def test_settings_that_vllm_does_not_take_are_the_clients_error(engine: ChatEngine, settings: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        engine.check({"messages": MESSAGES, **settings})
    assert caught.value.status == 400
    assert caught.value.message


def test_an_error_of_vllms_keeps_its_status(vllm_seam: ModuleType) -> None:
    from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse
    from vllm.exceptions import VLLMValidationError

    gone = ErrorResponse(error=ErrorInfo(message="no such model", type="NotFoundError", param="model", code=404))
    for outcome, status, param in (
        (gone, 404, "model"),
        (VLLMValidationError("bad", parameter="stop"), 400, "stop"),
        (ValueError("long"), 400, None),
    ):
        seam = vllm_seam.VllmChatEngine(Handler(outcome))
        for call in (seam.complete, seam.stream):
            with pytest.raises(ApiError) as caught:
                asyncio.run(call({"messages": MESSAGES}))
            assert (caught.value.status, caught.value.param) == (status, param)


def test_a_stream_is_its_data_whatever_the_text_holds(vllm_seam: ModuleType) -> None:
    chunks = [{"id": "1", "choices": [{"delta": {"content": text}}]} for text in ("a\u2028b", "\x85", "\x0c", "data: [DONE]", "x\n\ny")]
    closed = []

    async def events() -> AsyncGenerator[str, None]:
        try:
            for chunk in chunks:
                yield f"data: {json.dumps(chunk, ensure_ascii=False, separators=(',', ':'))}\n\n"
            yield 'data: {"error": {"message": "m", "code": 500}}\n\n'
            yield "data: [DONE]\n\n"
        finally:
            closed.append(True)

    async def collect(most: int) -> list[str]:
        data = await vllm_seam.VllmChatEngine(Handler(events())).stream({"messages": MESSAGES, "stream": True})
        found = [await anext(data) for _ in range(most)]
        await data.aclose()
        assert closed == [True]
        closed.clear()
        return found

    found = asyncio.run(collect(6))
    assert [json.loads(data) for data in found[:5]] == chunks
    assert found[5] == '{"error":{"message":"m","code":500}}'
    asyncio.run(collect(1))
