"""Clusters, groups and Kubernetes label selectors (apimachinery `metav1.LabelSelector`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import ClusterId, ClusterName, GroupName, Workspace

_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?")


class Cluster(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A registered cluster as targeting sees it."""

    workspace: Workspace
    name: ClusterName
    id: ClusterId = ClusterId("")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    values: dict[str, Any] = {}  # spec.templateValues
    paused: bool = False


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    workspace: Workspace
    name: GroupName
    selector: dict[str, Any] | None = None
    labels: dict[str, str] = {}


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector picks `labels`: {} picks all, None picks none. Raises UsageError on a
    malformed selector.
    """
    if selector is None:
        return False
    if not isinstance(selector, Mapping):
        raise _malformed_selector("it is not a map")
    match_labels, expressions = (
        selector.get("matchLabels") or {},
        selector.get("matchExpressions") or [],
    )
    if not isinstance(match_labels, Mapping) or not isinstance(expressions, list):
        raise _malformed_selector("matchLabels is not a map, or matchExpressions is not a list")
    for key, value in match_labels.items():
        if labels.get(key) != str(value):
            return False
    return all(_expression(e, labels) for e in expressions)


def selector_keys(selector: Mapping[str, Any] | None) -> set[str]:
    """The labels that `matches` looks at; none of a malformed selector."""
    if not isinstance(selector, Mapping):
        return set()
    match_labels, expressions = selector.get("matchLabels"), selector.get("matchExpressions")
    keys = set(map(str, match_labels)) if isinstance(match_labels, Mapping) else set()
    return keys | {
        str(e.get("key", ""))
        for e in (expressions if isinstance(expressions, list) else ())
        if isinstance(e, Mapping)
    }


def _expression(expression: Any, labels: Mapping[str, str]) -> bool:
    if not isinstance(expression, Mapping) or not isinstance(expression.get("values") or [], list):
        raise _malformed_selector(
            "an entry of matchExpressions is not a map, or its values are not a list"
        )
    key, values = str(expression.get("key", "")), [str(v) for v in expression.get("values") or []]
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            raise _malformed_selector(
                f"operator {str(other)[:40]!r} is none of In, NotIn, Exists, DoesNotExist"
            )


def _malformed_selector(reason: str) -> UsageError:
    return UsageError(f"selector: {reason}", next_step="Correct the selector.")


def parse_selector(text: str) -> dict[str, Any]:
    """A command line's `-l env=prod,tier!=gold,region in (eu,us),!old` as a LabelSelector. Raises
    UsageError.
    """
    labels: dict[str, str] = {}
    expressions: list[dict[str, Any]] = []
    for term in _terms(text):
        if " in " in term or " notin " in term:
            word = " in " if " in " in term else " notin "
            key, _, rest = term.partition(word)
            values = [v.strip() for v in rest.strip().strip("()").split(",") if v.strip()]
            if not values:
                raise _wrong_selector(text, f"{key.strip()} has no values to compare with")
            expressions.append(
                {
                    "key": key.strip(),
                    "operator": "In" if word == " in " else "NotIn",
                    "values": values,
                }
            )
        elif "!=" in term:
            key, _, value = term.partition("!=")
            expressions.append({"key": key.strip(), "operator": "NotIn", "values": [value.strip()]})
        elif "=" in term:
            key, _, value = term.replace("==", "=").partition("=")
            labels[key.strip()] = value.strip()
        else:
            absent = term.startswith("!")
            key = term.lstrip("!").strip()
            if not _KEY.fullmatch(key):
                raise _wrong_selector(text, f"{key!r} is no label")
            expressions.append({"key": key, "operator": "DoesNotExist" if absent else "Exists"})
    selector: dict[str, Any] = {}
    if labels:
        selector["matchLabels"] = labels
    if expressions:
        selector["matchExpressions"] = expressions
    return selector


def _terms(text: str) -> list[str]:
    terms: list[str] = []
    depth = start = 0
    for at, char in enumerate(text + "," if text else ""):
        depth += (char == "(") - (char == ")")
        if char == "," and depth <= 0:
            term = text[start:at].strip()
            start = at + 1
            if not term:
                raise _wrong_selector(text, "it has an empty term")
            terms.append(term)
    if depth:
        raise _wrong_selector(text, "its parentheses do not match")
    return terms


def _wrong_selector(text: str, reason: str) -> UsageError:
    """Never taken for one that says less: an empty selector picks everybody."""
    return UsageError(
        f"selector {text[:80]!r} is wrong: {reason}",
        next_step="Write it as key=value,key2!=value2,key3 in (a,b).",
    )
