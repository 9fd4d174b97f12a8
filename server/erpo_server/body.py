"""A request's body as bytes, read into the one JSON object that it can mean.

Knows nothing of what the object says.
"""

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from erpo_server.errors import ApiError

MAX_NESTING = 100
"""Deepest JSON that is read; what handles it further on recurses."""


def read_body(raw: bytes) -> dict[str, Any]:
    """The JSON object in a request's body. Raises `ApiError` on anything else, and on JSON that means different things to different
    readers: duplicate keys, numbers beyond 64 bits, text that no Unicode encoding can hold.
    """
    try:
        text = raw.decode()
        body = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_int=_int64)
        check_nesting(body)
        if "\\u" in text:
            json.dumps(body, ensure_ascii=False).encode()
    except ApiError:
        raise
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(f"the body is a JSON {type(body).__name__}; send an object")
    return body


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ApiError(f"key {key!r} stands twice in one JSON object")
        found[key] = value
    return found


def _int64(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{digits} is beyond 64 bits")
    return number


def check_nesting(value: Any) -> None:
    """Raise `ApiError` on a JSON value that is nested too deeply to be handed on."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_NESTING:
            raise ApiError(f"JSON nested more than {MAX_NESTING} levels deep")
        level = [item for holder in level if isinstance(holder, dict | list) for item in _items(holder)]


def _items(holder: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return holder.values() if isinstance(holder, dict) else holder


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
