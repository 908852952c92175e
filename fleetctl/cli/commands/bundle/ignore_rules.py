"""Builds the `diff.comparePatches` rules of fleet.yaml that ignore the present differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Rule = Mapping[str, Any]
_IDENTITY = ("apiVersion", "kind", "namespace", "name")
_LISTS = ("jsonPointers", "operations")


def ignore_rules(deployments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules that the deployments have, and a rule for each object that differs.

    The fields of an object that has a rule already join that rule.
    """
    rules: dict[tuple[str, ...], dict[str, Any]] = {}
    for deployment in deployments:
        options = (deployment["spec"].get("options") or {}).get("diff") or {}
        for rule in (*(options.get("comparePatches") or []), *_rules_for_differences(deployment)):
            _join(rules, rule)
    return list(rules.values())


def new_rules(deployments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only the rules for objects that differ, one for each object."""
    rules: dict[tuple[str, ...], dict[str, Any]] = {}
    for deployment in deployments:
        for rule in _rules_for_differences(deployment):
            _join(rules, rule)
    return list(rules.values())


def _rules_for_differences(deployment: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for modified in deployment["status"].get("modifiedStatus") or []:
        identity = {key: modified[key] for key in _IDENTITY if modified.get(key)}
        pointers = [difference["pointer"] for difference in modified.get("differences") or []]
        if pointers:
            yield identity | {"jsonPointers": pointers}
        elif modified.get("state") in {"Missing", "Orphaned"} or modified.get("owner"):
            yield identity | {"operations": [{"op": "ignore"}]}


def rule_key(rule: Rule) -> tuple[str, ...]:
    """The object that a rule is about. Keys count in any letter case, as in fleet.yaml."""
    values = {str(key).lower(): value for key, value in rule.items()}
    return tuple(str(values.get(name.lower()) or "") for name in _IDENTITY)


def _join(rules: dict[tuple[str, ...], dict[str, Any]], rule: dict[str, Any]) -> None:
    """Add `rule`; the rule for the same object gets only what it lacks."""
    first = {name: value for name, value in rule.items() if name not in _LISTS}
    present = rules.setdefault(rule_key(rule), first)
    for name in _LISTS:
        values = [value for value in rule.get(name) or [] if value not in present.get(name, [])]
        if values:
            present[name] = [*present.get(name, []), *values]
