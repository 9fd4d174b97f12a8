"""The one module that touches vLLM: its launcher, its chat handler, its request and response classes.

Everything here is public in vLLM 0.32 and 0.33. Nothing is subclassed and nothing private is reached for.
"""

import json
from argparse import Namespace
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.utils import api_utils, sse_keep_alive
from vllm.exceptions import VLLMClientError, VLLMValidationError
from vllm.version import __version__

from erpo_rules.inert import control_tokens
from erpo_rules.strictness import opening_bias
from erpo_server.errors import ApiError

__all__ = ["ENGINE_VERSION", "VllmChatEngine", "launch", "request_fields", "with_cancellation", "with_keep_alive"]

ENGINE_VERSION: str = __version__

_DATA, _DONE = "data: ", "[DONE]"

P = ParamSpec("P")
R = TypeVar("R")


def with_cancellation(work: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R | None]]:
    """Cancel `work` when the client disconnects; it then gives `None`. Its second argument must be the request, its body read."""
    cancellable: Callable[P, Awaitable[R | None]] = api_utils.with_cancellation(work)
    return cancellable


def with_keep_alive(events: AsyncGenerator[str, None], seconds: float) -> AsyncGenerator[str, None]:
    """The same events, with a comment line wherever none came for so long."""
    kept: AsyncGenerator[str, None] = sse_keep_alive.with_sse_keep_alive(events, seconds)
    return kept


class VllmChatEngine:
    """vLLM's chat handler (`state.openai_serving_chat`) as a `ChatEngine`."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self.special_tokens = control_tokens(handler.renderer.tokenizer)

    def opening_bias(self, strictness: float) -> dict[int, float]:
        return opening_bias(self._handler.renderer.tokenizer, strictness)

    @property
    def chat_template(self) -> str:
        """The template that prompts are rendered with."""
        return str(self._handler.chat_template or self._handler.renderer.tokenizer.chat_template or "")

    def check(self, body: dict[str, Any]) -> None:
        request = _request(body)
        try:
            request.to_sampling_params(body.get("max_completion_tokens", body.get("max_tokens", request.min_tokens or 1)), {})
        except (VLLMClientError, ValueError, TypeError) as error:
            raise _client_error(error) from error

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        response = await self._create(body)
        found: dict[str, Any] = response.model_dump(mode="json")
        return found

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        return _data(await self._create(body))

    async def _create(self, body: dict[str, Any]) -> Any:
        try:
            response = await self._handler.create_chat_completion(_request(body))
        except (VLLMClientError, ValueError, TypeError) as error:
            raise _client_error(error) from error
        if isinstance(response, ErrorResponse):
            fault = response.error
            code = "model_not_found" if fault.code == 404 else None
            raise ApiError(fault.message, status=fault.code, param=fault.param, code=code)
        return response


def request_fields() -> frozenset[str]:
    """Every field of vLLM's chat request."""
    return frozenset(ChatCompletionRequest.model_fields)


def launch(args: list[str]) -> None:
    """Run vLLM's own API server with these command-line flags, until SIGINT or SIGTERM."""
    import uvloop
    from vllm.entrypoints.launchers.api_server.entry import run_server
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.logger import configure_logging_from_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    parsed: Namespace = make_arg_parser(FlexibleArgumentParser(prog="erpo serve")).parse_args(args)
    configure_logging_from_args(parsed)
    validate_parsed_serve_args(parsed)
    uvloop.run(run_server(parsed))


def _request(body: dict[str, Any]) -> ChatCompletionRequest:
    try:
        return ChatCompletionRequest.model_validate(body)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or None
        raise ApiError(f"{where}: {fault['msg']}" if where else fault["msg"], param=where) from error
    except (VLLMClientError, ValueError, TypeError, LookupError, AttributeError) as error:  # vLLM's validators index what they are given
        raise _client_error(error) from error


def _client_error(error: Exception) -> ApiError:
    param = error.parameter if isinstance(error, VLLMValidationError) else None
    return ApiError(str(error), param=param)


async def _data(events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The data of vLLM's server-sent events, its closing `[DONE]` left out."""
    async with aclosing(events):
        async for event in events:
            for line in event.split("\n"):  # not `splitlines`: U+2028 and its like may stand in a JSON text
                if line.startswith(_DATA) and (data := line.removeprefix(_DATA)) != _DONE:
                    yield _compact(data)


def _compact(data: str) -> str:
    """vLLM's chunks are compact JSON already; its error events need not be."""
    return data if data.startswith('{"id"') else json.dumps(json.loads(data), separators=(",", ":"))
