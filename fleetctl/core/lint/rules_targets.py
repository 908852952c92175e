"""What a fleet.yaml says without effect of clusters and of other bundles: targets, selectors,
dependsOn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fleetctl.core.documents.convert import Path
from fleetctl.core.lint.context import Advice, as_list, as_map, as_str
from fleetctl.core.model.cluster import matches
from fleetctl.core.model.errors import UsageError

_CRITERIA = ("clusterName", "clusterSelector", "clusterGroup", "clusterGroupSelector")


def _find_shadowed(document: dict[str, Any]) -> Iterator[Advice]:
    if document.get("targetCustomizationMode") == "AllMatches":
        return
    for key in ("targets", "targetCustomizations"):
        items = [
            (at, item)
            for at, item in enumerate(as_list(document.get(key)))
            if isinstance(item, dict)
        ]
        for n, (at, item) in enumerate(items):
            first = next(((at_, other) for at_, other in items[:n] if _covers(other, item)), None)
            if first:
                name = as_str(first[1].get("name")) or f"number {first[0] + 1}"
                summary = f"no cluster gets this entry: {name} matches the same clusters before"
                yield (
                    "shadowed",
                    (key, at),
                    summary,
                    "Put it before that one, or set `targetCustomizationMode: AllMatches`.",
                )


def _covers(first: dict[str, Any], then: dict[str, Any]) -> bool:
    """Whether every cluster that `then` picks is picked by `first`; False when that is not
    certain.
    """
    stated_keys = [key for key in _CRITERIA if first.get(key) is not None]
    return bool(stated_keys) and all(
        _covers_in(key, first[key], then.get(key)) for key in stated_keys
    )


def _covers_in(key: str, first: Any, then: Any) -> bool:
    if not key.endswith("Selector"):
        return bool(first) and first == then
    if not isinstance(first, dict) or (first == {} and key == "clusterSelector"):
        return first == {}
    if not isinstance(then, dict):
        return False
    labels, other_labels = (as_map(part.get("matchLabels")) for part in (first, then))
    conditions, other_conditions = (as_list(part.get("matchExpressions")) for part in (first, then))
    return all(
        key_ in other_labels and other_labels[key_] == value for key_, value in labels.items()
    ) and all(condition in other_conditions for condition in conditions)


def _names_twice(document: dict[str, Any]) -> Iterator[Advice]:
    for key in ("targets", "targetCustomizations", "overrideTargets"):
        seen_names: set[str] = set()
        for at, item in enumerate(as_list(document.get(key))):
            name = as_str(as_map(item).get("name"))
            if name in seen_names:
                yield (
                    "name-twice",
                    (key, at, "name"),
                    f"the name {name[:80]} is used twice in `{key}`",
                    "Give each entry a different name.",
                )
            seen_names |= {name} if name else set()


def _depends_on_itself(document: dict[str, Any]) -> Iterator[Advice]:
    own_name, labels = (
        as_str(document.get("name")),
        {k: str(v) for k, v in as_map(document.get("labels")).items()},
    )
    for at, item in enumerate(as_list(document.get("dependsOn"))):
        dependency = as_map(item)
        name, selector = as_str(dependency.get("name")), dependency.get("selector")
        by_name = bool(name) and name == own_name
        if (by_name and selector is None) or ((not name or by_name) and _picks(selector, labels)):
            step = (
                "Remove the entry."
                if by_name
                else "Choose labels that the bundle itself has not got."
            )
            yield "depends-on-itself", ("dependsOn", at), "the bundle would wait for itself", step


def _picks(selector: Any, labels: dict[str, str]) -> bool:
    """Whether the bundle's own labels are among what `selector` picks; an empty one picks every
    bundle.
    """
    try:
        return isinstance(selector, dict) and matches(selector, labels)
    except (UsageError, AttributeError, TypeError):
        return False


def _selectors(value: Any, path: Path = ()) -> Iterator[Advice]:
    """Conditions anywhere whose values do not fit their operator."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _selectors(item, (*path, at))
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "matchExpressions" and _is_selector(path):
                yield from _conditions(item, (*path, key))
            elif key not in {"values", "templateValues"}:
                yield from _selectors(item, (*path, key))


def _is_selector(path: Path) -> bool:
    return bool(path) and path[-1] in {"clusterSelector", "clusterGroupSelector", "selector"}


def _conditions(value: Any, path: Path) -> Iterator[Advice]:
    for at, item in enumerate(as_list(value)):
        operator, values = as_map(item).get("operator"), as_map(item).get("values")
        if operator in {"In", "NotIn"} and not values:
            yield (
                "selector-values",
                (*path, at),
                f"{operator} without `values`",
                "Write the label's values.",
            )
        elif operator in {"Exists", "DoesNotExist"} and values:
            yield (
                "selector-values",
                (*path, at),
                f"{operator} looks at no `values`",
                "Remove them, or write In or NotIn.",
            )


def _no_choice(document: dict[str, Any]) -> Iterator[Advice]:
    if document.get("targets"):
        step = (
            "Write `overrideTargets` to choose the clusters, or `targetCustomizations` for"
            " options that differ."
        )
        yield (
            "targets-in-file",
            ("targets",),
            "`targets` does not choose which clusters get the bundle",
            step,
        )


RULES = (_find_shadowed, _names_twice, _depends_on_itself, _selectors, _no_choice)
