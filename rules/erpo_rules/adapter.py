"""What an adapter promises: `erpo.json`, the file beside its weights that the server checks before it serves them.

Training writes it, the server reads it. Also the one change that an aligned model's chat template needs. No model is loaded here.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from erpo_rules.trace import OPEN

TRACE_FORMAT = 1
"""Version of the text form in `erpo_rules.trace`; raised when a trained adapter would no longer parse."""

MANIFEST = "erpo.json"


class AdapterError(ValueError):
    """An adapter that cannot be served; the message names the file, what is wrong and what would be right."""


class BaseModelIdentity(BaseModel):
    """Which weights the adapter was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Public name, e.g. 'HuggingFaceTB/SmolLM2-135M-Instruct'.")
    config: dict[str, Any] = Field(
        description="Architecture facts that must match: model_type, hidden_size, num_hidden_layers, vocab_size."
    )


class RulebookIdentity(BaseModel):
    """Which rules the adapter was taught."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    version: str
    sha256: str


class AdapterManifest(BaseModel):
    """`erpo.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    trace_format: int
    base: BaseModelIdentity
    rulebook: RulebookIdentity
    recipe: dict[str, Any] = Field(description="The recipe as it was run, defaults filled in.")
    metrics: dict[str, Any] = Field(default_factory=dict, description="What training measured.")


BASE_FACTS = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")


def read_manifest(adapter: Path) -> AdapterManifest:
    """Read and check `erpo.json` in an adapter's folder. Raises `AdapterError`."""
    path = adapter / MANIFEST
    try:
        manifest = AdapterManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise AdapterError(f"{path}: {error.strerror}; an ERPO adapter folder holds {MANIFEST} beside its weights") from error
    except ValidationError as error:
        fault = error.errors()[0]
        field = f"field {'.'.join(map(str, fault['loc']))!r}: " if fault["loc"] else ""
        raise AdapterError(f"{path}: {field}{fault['msg']}") from error
    if manifest.trace_format != TRACE_FORMAT:
        raise AdapterError(f"{path}: trace_format {manifest.trace_format!r}; this server reads {TRACE_FORMAT}")
    return manifest


def check_base(manifest: AdapterManifest, config: dict[str, Any]) -> None:
    """Raise `AdapterError` when a base model's `config.json` is not the architecture that the adapter was trained on."""
    for fact in BASE_FACTS:
        if config.get(fact) != manifest.base.config.get(fact):
            raise AdapterError(
                f"adapter for {manifest.base.name!r}: its base has {fact} {manifest.base.config.get(fact)!r}, "
                f"this model {config.get(fact)!r}; serve it with the base that it was trained on"
            )


_ENDING = (
    "{% if add_generation_prompt %}{{ '" + OPEN.replace("\n", "\\n") + "' }}"
    "{% if erpo_trace is defined and erpo_trace %}{{ erpo_trace }}{% endif %}{% endif %}"
)


def with_trace_opening(chat_template: str) -> str:
    """The chat template whose generation prompt ends with the trace's opening: no model call can skip the trace.

    The variable `erpo_trace` (set by the server alone) is the finished trace behind which the answer is written.
    """
    return chat_template if opens_trace(chat_template) else chat_template.rstrip("\n") + _ENDING


def opens_trace(chat_template: str) -> bool:
    """Whether a chat template came from `with_trace_opening`."""
    return chat_template.rstrip("\n").endswith(_ENDING)
