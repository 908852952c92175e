"""What a client sent, read strictly: bounded bodies, JSON without duplicate keys or depth, only
known query parameters.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from fleetctl.core.formats.type_errors import describe_with_path
from fleetctl.core.model.errors import SlowRequest, TooLarge, UsageError

from .problems import nearest
from .server.limits import CALLERS, ByteBudget
from .server.workers import PARSING, ServerWorker

MAX_BODY = 256 * 1024
MAX_DEPTH = 64
BODY_BYTES = "fleet.body-bytes"
# the parser holds the interpreter lock: half a second at most for the largest body
MAX_VALUES = 300_000
# up to this size a body is parsed on the event loop, within about a millisecond
INLINE_BYTES = 16 * 1024
MAX_NUMBER = 1_100  # characters; the longest float64 that is written in full has 1,075 digits
READ_SECONDS = 30.0
_MAX_EXACT_DIGITS = 20  # 2**64 has as many

T = TypeVar("T")


async def body(
    request: Request,
    limit: int = MAX_BODY,
    seconds: float = READ_SECONDS,
    budget: ByteBudget = CALLERS,
) -> bytes:
    """The whole body, at most `limit` bytes, read within `seconds` however slowly it drips.

    What is received counts against `budget` until the request is answered.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > limit):
        raise _too_large(limit)
    data = bytearray()
    charges = request.scope.setdefault(BODY_BYTES, [])
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                budget.take(len(chunk))
                charges.append((budget, len(chunk)))
                data += chunk
                if len(data) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise SlowRequest(
            f"the request took longer than {seconds:.0f} s", next_step="Send it again."
        ) from error
    except ClientDisconnect as error:
        raise UsageError("the request ended early", next_step="Send it again.") from error
    return bytes(data)


def release_body(scope: Scope) -> None:
    """Gives the bytes of the request's body back to their budget. Call it once the request is
    answered.
    """
    for budget, count in scope.pop(BODY_BYTES, ()):
        budget.give_back(count)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the request body is larger than {limit} bytes", next_step="Send less at once."
    )


async def parse_body(data: bytes, parse: Callable[[bytes], T], worker: ServerWorker = PARSING) -> T:
    """`parse(data)`; larger bodies are parsed in `worker`. Raises what `parse` raises, and
    TooBusy.
    """
    if len(data) <= INLINE_BYTES:
        return parse(data)
    return await worker.run(parse, data)


async def message(data: bytes, kind: type[T]) -> T:
    """The message `kind` from strict JSON. Raises UsageError naming the field."""
    return await parse_body(data, partial(decode_message, kind=kind))


async def mapping(
    request: Request,
    known_names: Iterable[str] | None = None,
    limit: int = MAX_BODY,
    budget: ByteBudget = CALLERS,
) -> dict[str, Any]:
    """The request's JSON object; with `known`, any other key is an error that names the nearest."""
    value = await parse_body(await body(request, limit, budget=budget), _plain_mapping)
    if known_names is not None:
        _only_known("field", value, known_names)
    return value


def plain_json(data: bytes) -> Any:
    """JSON with unique keys, at most 64 levels, valid Unicode, no NaN. Raises UsageError.

    Takes linear time. Whole numbers beyond 64 bits are floats, as in Go's JSON for Kubernetes
    objects; numbers beyond float64 are refused, also as there.
    """
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise UsageError(
            f"the JSON has more than {MAX_VALUES} values", next_step="Send less at once."
        )
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        _check_values(value)
    except RecursionError as error:
        raise UsageError(
            "the JSON is nested too deeply", next_step=f"Use at most {MAX_DEPTH} levels."
        ) from error
    except UnicodeError as error:
        raise UsageError("the body is not UTF-8", next_step="Send JSON in UTF-8.") from error
    except ValueError as error:
        raise UsageError(
            f"the body is not JSON: {str(error)[:200]}", next_step="Correct the JSON."
        ) from error
    return value


def decode_message(data: bytes, kind: type[T]) -> T:
    """The message `kind` from strict JSON. Raises UsageError naming the field."""
    try:
        return msgspec.convert(plain_json(data), kind)
    except msgspec.ValidationError as error:
        summary = f"the message is wrong: {describe_with_path(str(error))[:200]}"
        raise UsageError(
            summary, next_step="Correct it; docs/api.md describes the format."
        ) from error


def _plain_mapping(data: bytes) -> dict[str, Any]:
    value = plain_json(data) if data else {}
    if not isinstance(value, dict):
        raise UsageError("the body is not a JSON object", next_step="Send {…}.")
    return value


def query(request: Request, *known_names: str) -> dict[str, str]:
    """The query's parameters. Unknown ones and repeated ones are errors."""
    pairs = request.query_params.multi_items()
    names = [name for name, _ in pairs]
    _only_known("query parameter", names, known_names)
    if duplicate := _first_duplicate(names):
        raise UsageError(f"query parameter {duplicate!r} is a duplicate", next_step="Give it once.")
    return dict(pairs)


def flag(values: dict[str, str], name: str) -> bool:
    text = values.get(name, "false")
    if text not in {"true", "false"}:
        raise UsageError(
            f"{name}={text!r} is neither true nor false", next_step=f"Write {name}=true."
        )
    return text == "true"


def number(values: dict[str, str], name: str, default: int, limit: int) -> int:
    """A whole number from 0 to `most`; larger ones are cut, anything else is an error."""
    text = values.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(
            f"{name}={text[:40]!r} is not a whole number", next_step=f"Write {name}={default}."
        )
    return min(int(text), limit)


def _only_known(label: str, names: Iterable[str], known_names: Iterable[str]) -> None:
    allowed_names = list(known_names)
    for name in names:
        if name not in allowed_names:
            raise UsageError(
                f"unknown {label} {name[:80]!r}",
                subject=name[:80],
                next_step=nearest(name[:80], allowed_names),
            )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(f"key {_first_duplicate(name for name, _ in pairs)[:80]!r} is a duplicate")
    return value


def _first_duplicate(names: Iterable[str]) -> str:
    """The first name that was there before, "" when all differ."""
    known_names: set[str] = set()
    for name in names:
        if name in known_names:
            return name
        known_names.add(name)
    return ""


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _whole_number(text: str) -> int | float:
    """int() takes time quadratic in the number of digits, float() does not."""
    if len(text) <= _MAX_EXACT_DIGITS:
        value = int(text)
        return value if -(2**63) <= value < 2**64 else float(value)
    return _real_number(text)


def _real_number(text: str) -> float:
    if len(text) > MAX_NUMBER:
        raise ValueError(f"a number has more than {MAX_NUMBER} characters")
    return float(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_no_constant,
    parse_int=_whole_number,
    parse_float=_real_number,
)


def _check_values(value: Any) -> None:
    """Refuses depth, lone surrogates and infinite numbers: none of them could be written as JSON
    again.
    """
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
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError("a number is too large")
