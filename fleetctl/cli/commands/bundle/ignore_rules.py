"""Builds the `diff:` rules of fleet.yaml that ignore the present differences."""

from __future__ import annotations

from typing import Any


def ignore_rules(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules that are there, with one for each object that differs; an object's fields join the
    rule that it has.
    """
    rules: dict[tuple[str, ...], dict[str, Any]] = {}
    for item in items:
        for rule in ((item["spec"].get("options") or {}).get("diff") or {}).get(
            "comparePatches"
        ) or []:
            _join(rules, rule)
        for one in item["status"].get("modifiedStatus") or []:
            mine = {
                key: one[key] for key in ("apiVersion", "kind", "namespace", "name") if one.get(key)
            }
            pointers = [d["pointer"] for d in one.get("differences") or []]
            if pointers:
                _join(rules, mine | {"jsonPointers": pointers})
            elif one.get("state") in {"Missing", "Orphaned"} or one.get("owner"):
                _join(rules, mine | {"operations": [{"op": "ignore"}]})
    return list(rules.values())


def _join(rules: dict[tuple[str, ...], dict[str, Any]], rule: dict[str, Any]) -> None:
    """A rule for the same object gets what it had not."""
    key = tuple(str(rule.get(part) or "") for part in ("apiVersion", "kind", "namespace", "name"))
    known = rules.setdefault(
        key,
        {name: value for name, value in rule.items() if name not in {"jsonPointers", "operations"}},
    )
    for name in ("jsonPointers", "operations"):
        found = [value for value in rule.get(name) or [] if value not in known.get(name, [])]
        if found:
            known[name] = [*known.get(name, []), *found]
