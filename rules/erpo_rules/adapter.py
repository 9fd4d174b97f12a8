"""What an adapter promises: `erpo.json`, the file beside its weights that the server checks before it serves them.

Training writes it, the server reads it. Also the one change that an aligned model's chat template needs. No model is loaded here.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from erpo_rules.rulebook import Rulebook
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
    rules: tuple[str, ...] = Field(default=(), description="Ids of its rules; empty in adapters that were written before they were kept.")

    @classmethod
    def of(cls, rulebook: Rulebook) -> Self:
        """The identity of a rulebook."""
        ids = tuple(rule.id for rule in rulebook.rules)
        return cls(id=rulebook.id, version=rulebook.version, sha256=rulebook.sha256, rules=ids)


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


def rulebook_note(manifest: AdapterManifest, rulebook: Rulebook) -> str | None:
    """How a rulebook differs from the one that the adapter was taught, and what that means; `None` when it is the same text.

    Never an error: an operator's own rules are served by any adapter, for the grammar alone says what may be cited.
    """
    taught = manifest.rulebook
    if rulebook.sha256 == taught.sha256:
        return None
    this, that = f"rulebook {rulebook.id!r} {rulebook.version}", f"{taught.id!r} {taught.version}"
    if unknown := [rule.id for rule in rulebook.enabled if taught.rules and rule.id not in taught.rules]:
        return f"{this} has rules that the adapter was not taught: {', '.join(unknown)}; it may not cite them until it is trained on them"
    if (rulebook.id, rulebook.version) == (taught.id, taught.version):
        return f"{this} is not the text that the adapter was taught under this name; measure it, and give a changed text a new version"
    known = "every rule that it enables was taught, by its id" if taught.rules else "which rules were taught is not recorded"
    return f"{this} is not {that}, which the adapter was taught; {known}; measure it before you rely on it"


_ENDING = (
    "{% if add_generation_prompt %}{{ '" + OPEN.replace("\n", "\\n") + "' }}"
    "{% if erpo_trace is defined and erpo_trace %}{{ erpo_trace }}{% endif %}{% endif %}"
)


def without_text(chat_template: str, text: str) -> str:
    """The chat template without a piece of its text, as one that sets a default system prompt. Raises `AdapterError` when it lacks it."""
    if text not in chat_template:
        raise AdapterError(f"the base's chat template does not hold {text!r}; correct or remove 'template_without'")
    return chat_template.replace(text, "")


def with_trace_opening(chat_template: str) -> str:
    """The chat template whose generation prompt ends with the trace's opening: no model call can skip the trace.

    The variable `erpo_trace` (set by the server alone) is the finished trace behind which the answer is written.
    """
    return chat_template if opens_trace(chat_template) else chat_template.rstrip("\n") + _ENDING


def opens_trace(chat_template: str) -> bool:
    """Whether a chat template came from `with_trace_opening`."""
    return chat_template.rstrip("\n").endswith(_ENDING)
