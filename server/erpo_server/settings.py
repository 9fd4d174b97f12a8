"""What an operator sets, from the environment (`ERPO_*`) or from `erpo serve`'s flags, which win."""

from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from erpo_rules.strictness import LIMIT


class SettingError(ValueError):
    """A setting that cannot be used; the message names its variable, the value and what would be right."""


class Settings(BaseSettings):
    """Settings of the server process. vLLM's own settings are its flags."""

    model_config = SettingsConfigDict(env_prefix="ERPO_", extra="ignore", frozen=True)

    rulebook: str = Field(default="mlcommons", description="Name of a shipped rulebook, or a YAML file.")
    disable_rules: tuple[str, ...] = Field(
        default=(),
        description="Rule ids that are never cited, as a JSON list: '[\"S8\"]'. Takes effect through the grammar, without training.",
    )
    refusal_style: Literal["rulebook", "model"] = Field(
        default="rulebook", description="Who writes a refusal: the rulebook's text (no token is decoded), or the model."
    )
    reasoning: Literal["on-request", "never"] = Field(
        default="on-request", description="Whether clients may see traces with show_reasoning; 'never' answers such a request with 403."
    )
    read_encoded: bool = Field(
        default=True,
        description="Whether the model is also shown in plain what users and tools send encoded: base64, letters shifted or turned, …",
    )
    strictness: float = Field(
        default=0.0,
        ge=-LIMIT,
        le=LIMIT,
        description="Logits added where a trace opens. Above 0 more requests are assessed: less harm is missed, more look-alikes are "
        "refused. Below 0 the other way about; 0 is the adapter's own balance.",
    )
    keep_alive_seconds: float = Field(
        default=10.0, gt=0, description="A stream that is silent for so long gets a comment line, so that proxies keep it open."
    )


def read_settings() -> Settings:
    """The settings in the environment. Raises `SettingError`."""
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        raise SettingError(f"ERPO_{name.upper()}: {fault['msg'].removeprefix('Value error, ')} (got {fault['input']!r})") from error
    except SettingsError as error:
        raise SettingError(f"{error}; a list is written as JSON, e.g. ERPO_DISABLE_RULES='[\"S8\"]'") from error
