"""The vLLM endpoint plugin: puts our routes on vLLM's application and takes the others off.

vLLM loads it where `VLLM_PLUGINS` names `erpo`: in `erpo serve` and in any other launcher of vLLM's API server.
"""

import time
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from erpo_rules import load_rulebook
from erpo_rules.adapter import opens_trace
from erpo_server import routes
from erpo_server.chat import ChatPipeline
from erpo_server.metrics import Metrics
from erpo_server.settings import read_settings


@dataclass(frozen=True, slots=True)
class Served:
    """What our routes need, in `app.state.erpo`."""

    pipeline: ChatPipeline
    models: list[dict[str, Any]]


class ErpoPlugin:
    """Implements vLLM's `EndpointPlugin`."""

    name = "erpo"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._settings = read_settings()
        self._app: FastAPI | None = None

    def attach_router(self, app: FastAPI) -> None:
        """Called once, after vLLM has attached its own routes."""
        app.include_router(routes.router(self._settings))
        self._app = app

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Called once the engine is up; raises when what is served could go around the trace."""
        from erpo_server.vllm_seam import VllmChatEngine

        assert self._app is not None, "vLLM attaches the router first"
        routes.prune(self._app)
        routes.check(self._app)
        engine = VllmChatEngine(state.openai_serving_chat)
        if not opens_trace(engine.chat_template):
            raise RuntimeError(
                "the model's chat template does not open a reasoning trace: serve a model with an ERPO adapter merged into it "
                "(erpo serve --model … --adapter …)"
            )
        rulebook = load_rulebook(self._settings.rulebook).without(*self._settings.disable_rules)
        metrics = Metrics(rule.id for rule in rulebook.rules)
        pipeline = ChatPipeline(
            engine, rulebook, metrics, model_refuses=self._settings.refusal_style == "model", strictness=self._settings.strictness
        )
        names = args.served_model_name or [args.model]
        card = {
            "object": "model",
            "created": int(time.time()),
            "owned_by": "erpo",
            "max_model_len": engine_client.model_config.max_model_len,
        }
        state.erpo = Served(pipeline, [{"id": name, **card} for name in names])
        await pipeline.warm_up()


def endpoint_plugin() -> ErpoPlugin:
    """Entry point `vllm.endpoint_plugins`."""
    return ErpoPlugin()
