"""The one exception that becomes an OpenAI error response; `chat.py` and `routes.py` raise it, `plugin.py` maps it once."""

from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class ApiError(Exception):
    """An error in OpenAI's form.

    Attributes:
        message: what is wrong, naming the value, and what would be right.
        status: HTTP status.
        param: the request parameter at fault, if one is.
        code: OpenAI's machine-readable code, e.g. `unsupported_parameter`.
    """

    message: str
    status: int = 400
    param: str | None = None
    code: str | None = None

    @property
    def kind(self) -> str:
        """OpenAI's `type` for the status."""
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    def body(self) -> dict[str, Any]:
        """The response body."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}
