"""Secrets as they lie on this disk: an HMAC in the place of each value, which is enough to see that
the live one is another.

Rule: no value of a Secret is plain in the state directory. The key lies there too (`values.key`):
this is against who sees one file of it or a backup, not against who may read all of it. A token
names its key, so that a lost key makes no Secret look changed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Any

from fleetctl.core.model.json_object import JsonObject
from fleetctl.durable import write_whole

_FILE, _KEY_BYTES = "values.key", 32
_PREFIX = "hmac:"  # no base64 has a colon


def key_of(state_dir: Path) -> bytes:
    """Made at the first need. Raises OSError when it cannot be kept."""
    path = state_dir / _FILE
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != _KEY_BYTES:
        key = secrets.token_bytes(_KEY_BYTES)
        write_whole(path, key)
    return key


def code_of(key: bytes, data: bytes) -> str:
    """32 hex digits."""
    return hmac.new(key, data, hashlib.sha256).hexdigest()[:32]


class Hiding:
    """The Secrets of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def hide(self, item: JsonObject) -> JsonObject:
        """A Secret with tokens in `data`, where `stringData` has been put; any other object as it
        is. Raises OSError.
        """
        if item.get("kind") != "Secret" or not (item.get("data") or item.get("stringData")):
            return item
        key = key_of(self._state_dir)
        tokens = {name: _token(key, _bytes(value)) for name, value in _map(item, "data").items()}
        tokens |= {
            name: _token(key, str(value).encode())
            for name, value in _map(item, "stringData").items()
        }
        return {
            **{name: value for name, value in item.items() if name != "stringData"},
            "data": tokens,
        }

    def comparable(self, target: JsonObject, live: JsonObject) -> tuple[JsonObject, JsonObject]:
        """Both with tokens; what was hidden with another key is left out, and all where no key is
        to be had.
        """
        try:
            key = key_of(self._state_dir)
        except OSError:
            return {**target, "data": {}}, live
        if (
            not all(str(token).startswith(_PREFIX) for token in _map(target, "data").values())
            or "stringData" in target
        ):
            target = self.hide(target)  # kept by an agent that did not hide
        target_tokens = {
            name: token
            for name, token in _map(target, "data").items()
            if token.startswith(_head(key))
        }
        live_tokens = {
            name: _token(key, _bytes(value)) for name, value in _map(live, "data").items()
        }
        return {**target, "data": target_tokens}, {**live, "data": live_tokens}


def _map(item: JsonObject, field: str) -> JsonObject:
    value = item.get(field)
    return value if isinstance(value, dict) else {}


def _head(key: bytes) -> str:
    return f"{_PREFIX}{code_of(key, b'id')[:8]}:"


def _token(key: bytes, data: bytes) -> str:
    return _head(key) + code_of(key, data)


def _bytes(value: Any) -> bytes:
    """What is no base64 stands for itself; the API server refuses it."""
    try:
        return base64.b64decode(str(value), validate=True)
    except ValueError:
        return str(value).encode()
