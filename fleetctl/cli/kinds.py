"""The kinds as a person names them, and the columns of their tables (Fleet's own columns, so that nobody has to learn new ones)."""

from __future__ import annotations

import difflib
from typing import Any

from fleetctl.cli.output import Column, age
from fleetctl.core.errors import UsageError

# plural: (kind, short names)
KINDS = {
    "gitrepos": ("GitRepo", ("gr",)),
    "clusters": ("Cluster", ("cl",)),
    "clustergroups": ("ClusterGroup", ("cg",)),
    "clusterregistrationtokens": ("ClusterRegistrationToken", ("crt",)),
    "bundles": ("Bundle", ("b",)),
    "bundledeployments": ("BundleDeployment", ("bd",)),
    "secrets": ("Secret", ()),
    "configmaps": ("ConfigMap", ("cm",)),
}


def plural_of(text: str) -> str:
    """`gr`, `gitrepo`, `GitRepo` and `gitrepos` are the same. Raises UsageError with the nearest."""
    wanted = text.lower()
    for plural, (kind, short) in KINDS.items():
        if wanted in {plural, kind.lower(), *short}:
            return plural
    near = difflib.get_close_matches(wanted, [*KINDS, *(k[0].lower() for k in KINDS.values())], 1)
    step = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(KINDS)}."
    raise UsageError(f"there is no kind {text!r}", next_step=step)


def _display(key: str) -> Any:
    def cell(item: dict[str, Any]) -> str:
        return str((item.get("status") or {}).get("display", {}).get(key, ""))

    return cell


def _meta(item: dict[str, Any]) -> str:
    return str(item["metadata"]["name"])


def _labels(item: dict[str, Any]) -> str:
    labels = item["metadata"].get("labels") or {}
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items()) if "cattle.io" not in k)


NAME: Column = ("NAME", _meta, False)
AGE: Column = ("AGE", lambda i: age(i["metadata"].get("creationTimestamp", "")), False)
STATUS: Column = ("STATUS", _display("state"), False)
MESSAGE: Column = ("MESSAGE", _display("message"), False)
NAMESPACE: Column = ("NAMESPACE", lambda i: str(i["metadata"].get("namespace", "")), False)

COLUMNS: dict[str, list[Column]] = {
    "gitrepos": [
        NAME,
        ("COMMIT", lambda i: str(i["status"].get("commit", ""))[:7] or "-", False),
        ("READY", _display("readyBundleDeployments"), False),
        STATUS,
        ("REPO", lambda i: str(i["spec"].get("repo", "")), True),
        ("SCANNED", lambda i: age(i["status"].get("lastScanned", "")), True),
        MESSAGE,
    ],
    "clusters": [
        NAME,
        ("BUNDLES-READY", _display("readyBundles"), False),
        ("LAST-SEEN", lambda i: age(i["status"]["agent"].get("lastSeen", "")), False),
        STATUS,
        ("KUBERNETES", lambda i: str(i["status"].get("kubeVersion", "")), True),
        ("AGENT", lambda i: str(i["status"]["agent"].get("version", "")), True),
        ("MESSAGE", _display("message"), True),
        ("LABELS", _labels, False),
    ],
    "clustergroups": [
        NAME,
        ("CLUSTERS-READY", _display("readyClusters"), False),
        ("BUNDLES-READY", _display("readyBundles"), False),
        STATUS,
        AGE,
    ],
    "bundles": [
        NAME,
        ("CLUSTERS-READY", _display("readyClusters"), False),
        STATUS,
        ("COMMIT", lambda i: str(i["status"].get("commit", ""))[:7], True),
        AGE,
        MESSAGE,
    ],
    "bundledeployments": [
        ("CLUSTER", lambda i: str(i["spec"]["cluster"]), False),
        ("BUNDLE", lambda i: str(i["spec"]["bundle"]), False),
        STATUS,
        ("RELEASE", lambda i: _release(i["status"].get("release")), True),
        ("COMMIT", lambda i: str(i["spec"].get("commit", ""))[:7], False),
        ("REPORTED", lambda i: age(i["status"].get("reportedAt", "")), False),
        ("MESSAGE", lambda i: str(i["status"].get("message", "")), False),
    ],
    "clusterregistrationtokens": [NAME, ("TTL", lambda i: str(i["spec"].get("ttl", "-")), False), AGE],
    "secrets": [NAME, ("TYPE", lambda i: str(i.get("type", "")), False), ("DATA", lambda i: str(len(i.get("data") or {})), False), AGE],
    "configmaps": [NAME, ("DATA", lambda i: str(len(i.get("data") or {})), False), AGE],
}


def _release(found: dict[str, Any] | None) -> str:
    return f"{found['namespace']}/{found['name']} rev {found.get('revision', 0)}" if found else "-"
