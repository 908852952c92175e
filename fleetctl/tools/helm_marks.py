"""The label and the annotations by which helm knows the objects of a release. Pure.

This is the only module that spells them. Source: helm.sh/helm/v4 `pkg/action/validate.go` (marks)
and `pkg/kube/resource_policy.go` (policy).

helm reads the resource policy in two ways, and each caller here stands in for one of them:
`kept_by_uninstall` and `kept_by_upgrade`.
"""

from __future__ import annotations

from typing import Any

MANAGED_LABEL, MANAGED_BY = "app.kubernetes.io/managed-by", "Helm"
RELEASE_NAME, RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
RESOURCE_POLICY, KEEP = "helm.sh/resource-policy", "keep"
# Annotations that helm and its post-renderer add on the way from the chart to the cluster.
_ADDED_PREFIXES = ("postrenderer.helm.sh/", "meta.helm.sh/")


def kept_by_uninstall(annotations: object) -> bool:
    """Whether `helm uninstall` leaves the object: it trims the policy and ignores its case (helm
    `pkg/action/resource_policy.go`).
    """
    if not isinstance(annotations, dict):
        return False
    return str(annotations.get(RESOURCE_POLICY, "")).strip().lower() == KEEP


def kept_by_upgrade(annotations: object) -> bool:
    """Whether `helm upgrade` leaves an object that the new manifest does not state: it compares the
    policy exactly (helm `pkg/kube/client.go`).
    """
    return isinstance(annotations, dict) and annotations.get(RESOURCE_POLICY) == KEEP


def owner_of(annotations: object) -> tuple[str, str] | None:
    """(name, namespace) of the release that an object's annotations name."""
    if not isinstance(annotations, dict) or not annotations.get(RELEASE_NAME):
        return None
    return str(annotations[RELEASE_NAME]), str(annotations.get(RELEASE_NAMESPACE) or "")


def owner_text(annotations: object) -> str:
    """`NAMESPACE/NAME` of the release that an object's annotations name, or ""."""
    owner = owner_of(annotations)
    return f"{owner[1]}/{owner[0]}" if owner else ""


def owner_annotations(name: str, namespace: str) -> dict[str, str]:
    """The annotations of an object of the release."""
    return {RELEASE_NAME: name, RELEASE_NAMESPACE: namespace}


def add_marks(meta: dict[str, Any], name: str, namespace: str) -> None:
    """Set in an object's metadata what helm sets on each object of the release."""
    meta["labels"] = {**(meta.get("labels") or {}), MANAGED_LABEL: MANAGED_BY}
    meta["annotations"] = {
        **(meta.get("annotations") or {}),
        **owner_annotations(name, namespace),
    }


def without_marks(meta: dict[str, Any]) -> dict[str, Any]:
    """Metadata without what helm adds on the way; labels and annotations that become empty go."""
    rest = dict(meta)
    annotations, labels = rest.pop("annotations", None) or {}, rest.pop("labels", None) or {}
    own = {key: value for key, value in annotations.items() if not key.startswith(_ADDED_PREFIXES)}
    own_labels = {key: value for key, value in labels.items() if key != MANAGED_LABEL}
    return {
        **rest,
        **({"annotations": own} if own else {}),
        **({"labels": own_labels} if own_labels else {}),
    }
