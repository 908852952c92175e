"""Keys of Fleet's objects that are accepted without effect, so that manifests pass unchanged; each
is one warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetctl.core.documents.convert import Origin
from fleetctl.core.documents.key_names import POD_ONLY

CODE = "no-effect"
_GITREPO = {
    "ociRegistrySecret": "bundles are stored by the manager, not in an OCI registry",
    "webhookSecret": "a webhook of this GitRepo is checked with the manager's own secret",
    "imageScanInterval": "images are not updated in Git",
    "imageScanCommit": "images are not updated in Git",
    "helmSecretNameForPaths": "the login in `helmSecretName` is used for every path",
}
_INSECURE = "insecureSkipTLSVerify"
_INSECURE_STEP = "Give the server's certificate authority in `caBundle`, and remove this key."
# What Kubernetes writes into the metadata of every object.
KUBERNETES_META = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


def reason(kind: str, key: str) -> str:
    """Why `key` of the spec of `kind` has no effect; "" for a key that may have one."""
    if kind == "Cluster" and POD_ONLY.fullmatch(key):
        return "it configures the Pod of Rancher Fleet's agent"
    reasons = {name.lower(): text for name, text in _GITREPO.items()} if kind == "GitRepo" else {}
    return reasons.get(key.lower(), "")


def without_effect(kind: str, spec: Mapping[str, Any], origin: Origin) -> dict[str, Any]:
    """`spec` without such keys, with a warning for each that says something. Raises InvalidFile."""
    effective: dict[str, Any] = {}
    for key, value in spec.items():
        if kind == "GitRepo" and key.lower() == _INSECURE.lower():
            for summary, step in insecure(value):
                raise origin.error(summary, (key,), step)
            continue
        cause = reason(kind, key)
        if not cause:
            effective[key] = value
        elif value not in (None, "", {}, [], False):
            origin.warn(
                CODE,
                f"key `{key}` has no effect: {cause}",
                (key,),
                "Remove it, or leave it for Rancher Fleet.",
            )
    return effective


def insecure(value: Any) -> Iterator[tuple[str, str]]:
    """(summary, next step) when certificates would not be checked."""
    if value not in (None, False):
        yield (
            (
                f"`{_INSECURE}` is not supported: an attacker in the network could change"
                " what is deployed"
            ),
            _INSECURE_STEP,
        )


def is_insecure_key(kind: str, key: str) -> bool:
    return kind == "GitRepo" and key.lower() == _INSECURE.lower()
