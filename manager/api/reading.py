"""What a client sent, read strictly: bounded bodies, JSON without duplicate keys or depth, only known query parameters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from fleetctl.core.errors import UsageError

from .problems import SlowRequest, TooLarge, nearest

MAX_BODY = 256 * 1024
MAX_DEPTH = 64
READ_SECONDS = 30.0

T = TypeVar("T")


async def body(request: Request, limit: int = MAX_BODY, seconds: float = READ_SECONDS) -> bytes:
    """The whole body, at most `limit` bytes, read within `seconds` however slowly it drips."""
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > limit:
        raise _too_large(limit)
    found = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                found += chunk
                if len(found) > limit:
                    raise _too_large(limit)
    except TimeoutError as why:
        raise SlowRequest(f"the request took longer than {seconds:.0f} s", next_step="Send it again.") from why
    except ClientDisconnect as why:
        raise UsageError("the request ended early", next_step="Send it again.") from why
    return bytes(found)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the request body is larger than {limit} bytes", next_step="Send less at once.")


def plain_json(data: bytes) -> Any:
    """JSON with unique keys, at most 64 levels, valid Unicode, no NaN. Raises UsageError."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        _check_depth(found)
    except RecursionError as why:
        raise UsageError("the JSON is nested too deeply", next_step=f"Use at most {MAX_DEPTH} levels.") from why
    except UnicodeError as why:
        raise UsageError("the body is not UTF-8", next_step="Send JSON in UTF-8.") from why
    except ValueError as why:
        raise UsageError(f"the body is not JSON: {str(why)[:200]}", next_step="Correct the JSON.") from why
    return found


def typed(data: bytes, kind: type[T]) -> T:
    """The message `kind` from strict JSON. Raises UsageError naming the field."""
    try:
        return msgspec.convert(plain_json(data), kind)
    except msgspec.ValidationError as why:
        raise UsageError(f"the message is wrong: {why}", next_step="Correct it as docs/api.md says.") from why


def mapping(data: bytes, known: Iterable[str] | None = None) -> dict[str, Any]:
    """A JSON object; with `known`, any other key is an error that names the nearest."""
    found = plain_json(data) if data else {}
    if not isinstance(found, dict):
        raise UsageError("the body is not a JSON object", next_step="Send {…}.")
    if known is not None:
        _only_known("field", found, known)
    return found


def query(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters. Unknown ones and repeated ones are errors."""
    pairs = request.query_params.multi_items()
    names = [name for name, _ in pairs]
    _only_known("query parameter", names, known)
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"query parameter {name!r} stands there twice", next_step="Give it once.")
    return dict(pairs)


def flag(values: dict[str, str], name: str) -> bool:
    text = values.get(name, "false")
    if text not in {"true", "false"}:
        raise UsageError(f"{name}={text!r} is neither true nor false", next_step=f"Write {name}=true.")
    return text == "true"


def number(values: dict[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 0 to `most`; larger ones are cut, anything else is an error."""
    text = values.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(f"{name}={text[:40]!r} is not a whole number", next_step=f"Write {name}={default}.")
    return min(int(text), most)


def _only_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    allowed = list(known)
    for name in names:
        if name not in allowed:
            raise UsageError(f"unknown {what} {name[:80]!r}", subject=name[:80], next_step=nearest(name[:80], allowed))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:80]!r} stands there twice")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _check_depth(value: Any) -> None:
    """Also refuses lone surrogates, which could not be written down again."""
    todo = [(value, 1)]
    while todo:
        item, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise RecursionError
        if isinstance(item, dict):
            todo.extend((part, depth + 1) for part in item.values())
            todo.extend((key, depth) for key in item)
        elif isinstance(item, list):
            todo.extend((part, depth + 1) for part in item)
        elif isinstance(item, str) and not item.isascii():
            item.encode()
