"""Who is evaluated: a model in process, or an endpoint. Values only; `local` and `endpoint` ask them."""

from dataclasses import dataclass
from pathlib import Path


class SubjectError(ValueError):
    """A subject that cannot be asked; the message names it, what is wrong and the remedy."""


@dataclass(frozen=True, slots=True)
class Local:
    """A model's folder, run by vLLM's offline engine.

    Attributes:
        label: what the report calls it.
        what: one line that says what it is.
        identity: a hash of the weights.
        aligned: whether it writes a trace first (its chat template opens one).
        policy: whether the rulebook is put into its system prompt instead: the usual way without training.
        strictness: how readily its traces assess (`erpo_rules.strictness`).
    """

    label: str
    what: str
    model: Path
    identity: str
    aligned: bool
    policy: bool = False
    strictness: float = 0.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible API.

    Attributes:
        url: its base, up to and with `/v1`.
        model: the name to call; the first that it lists when `None`.
        key_variable: environment variable that holds the API key.
    """

    label: str
    url: str
    model: str | None = None
    key_variable: str = "OPENAI_API_KEY"

    @property
    def what(self) -> str:
        """One line that says what it is."""
        return f"endpoint {self.url}" + (f", model {self.model}" if self.model else "")


Subject = Local | Endpoint
