"""Why a target does not pick a cluster, criterion by criterion, in words. Pure.

Rule: what is said here is what `core/target.criteria_match` decided: no words exactly when it
matches (a test holds them together).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetctl.core.model.bundle import Target
from fleetctl.core.model.cluster import Cluster, Group, matches


def why_not(target: Target, cluster: Cluster, cluster_groups: Iterable[Group]) -> list[str]:
    """What the target asks for and the cluster is not; `cluster_groups`: the groups that the
    cluster belongs to.
    """
    groups = list(cluster_groups)
    reasons: list[str] = []
    criteria = 0
    if target.cluster_name:
        criteria += 1
        reasons += (
            []
            if target.cluster_name == cluster.name
            else [f"it is for cluster {target.cluster_name}"]
        )
    if target.cluster_selector is not None:
        criteria += 1
        reasons += lacking(target.cluster_selector, cluster.labels)
    if target.cluster_group:
        criteria += 1
        reasons += (
            []
            if any(g.name == target.cluster_group for g in groups)
            else [f"the cluster is not in group {target.cluster_group}"]
        )
    if target.cluster_group_selector is not None:
        criteria += 1
        if not any(matches(target.cluster_group_selector, g.labels) for g in groups):
            group_names = ", ".join(str(g.name) for g in groups)
            reasons.append(
                f"its groups ({group_names}) have other labels"
                if group_names
                else "the cluster is in no group"
            )
    return reasons if criteria else ["it names no criterion"]


def lacking(selector: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """What the labels lack: `env is dev, not prod`."""
    missing_terms = []
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != str(value):
            missing_terms.append(f"label {key} is {_quote_label(labels, key)}, not {value}")
    terms = selector.get("matchExpressions") or []
    return missing_terms + [
        _term(term, labels) for term in terms if not matches({"matchExpressions": [term]}, labels)
    ]


def _term(term: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    key, values = str(term.get("key", "")), ", ".join(str(v) for v in term.get("values") or [])
    has = _quote_label(labels, key)
    text = {
        "In": f"label {key} is {has}, not one of {values}",
        "NotIn": f"label {key} is {has}, which is one of {values}",
        "Exists": f"it has no label {key}",
        "DoesNotExist": f"it has the label {key}",
    }
    return text[str(term["operator"])]


def _quote_label(labels: Mapping[str, str], key: str) -> str:
    return (labels[key] or '""') if key in labels else "not set"


def wanted_labels(target: Target) -> dict[str, str]:
    """The labels that would make a cluster match, when that is all that the target asks for; else
    nothing.
    """
    only = target.cluster_selector is not None and not (
        target.cluster_name or target.cluster_group or target.cluster_group_selector
    )
    if (
        not only
        or target.cluster_selector is None
        or target.cluster_selector.get("matchExpressions")
    ):
        return {}
    return {
        str(key): str(value)
        for key, value in (target.cluster_selector.get("matchLabels") or {}).items()
    }
