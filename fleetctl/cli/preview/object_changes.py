"""Compares rendered objects and hides the values of Secrets."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from fleetctl.cli.preview.renderer import RenderResult
from fleetctl.core.formats.yaml import dump

_MASK = "***"


class Key(NamedTuple):
    """One object of one bundle."""

    bundle: str
    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.bundle}: {self.kind} {place}"


class ObjectChange(NamedTuple):
    """`what` is added, removed or changed; `text` a unified diff."""

    key: Key
    what: str
    text: str


def key_of(result: RenderResult, item: dict[str, Any]) -> Key:
    """The key of one object of `result`."""
    meta = item.get("metadata") or {}
    name = str(meta.get("name") or meta.get("generateName") or "")
    return Key(
        result.bundle.name,
        str(item["apiVersion"]),
        str(item["kind"]),
        str(meta.get("namespace") or ""),
        name,
    )


def changes_of(
    before: dict[Key, dict[str, Any]], after: dict[Key, dict[str, Any]], *, show_secrets: bool
) -> list[ObjectChange]:
    """Compare object by object; the values of Secrets are hidden."""
    changes: list[ObjectChange] = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key.kind == "Secret" and not show_secrets:
            old, new = _mask_secrets(old, new)
        kind = "added" if old is None else "removed" if new is None else "changed"
        lines = difflib.unified_diff(
            _lines(old), _lines(new), f"{key} (before)", f"{key} (after)", lineterm=""
        )
        changes.append(ObjectChange(key, kind, "\n".join(lines)))
    return changes


def _lines(item: dict[str, Any] | None) -> list[str]:
    return dump(item).splitlines() if item else []


def _mask_secrets(
    old: dict[str, Any] | None, new: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Hide the values of Secrets; a mark shows which of them differ."""

    def masked_copy(
        own_side: dict[str, Any] | None, other_side: dict[str, Any] | None, mark: str
    ) -> dict[str, Any] | None:
        if own_side is None:
            return None
        copy = dict(own_side)
        for field in ("data", "stringData"):
            other_values = (other_side or {}).get(field) or {}
            if isinstance(own_side.get(field), dict):
                copy[field] = {
                    k: _MASK
                    if k not in other_values or other_values[k] == v
                    else f"{_MASK} ({mark})"
                    for k, v in own_side[field].items()
                }
        return copy

    return masked_copy(old, new, "before"), masked_copy(new, old, "after")
