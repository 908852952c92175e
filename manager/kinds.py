"""Objects that people write: what each kind accepts. A field that narrows rights is enforced or refused, never only stored."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from fleetctl.core.cluster import matches
from fleetctl.core.errors import InvalidFile, RefusedError, UsageError
from fleetctl.core.gitrepo import repo_spec
from fleetctl.core.ids import is_name
from fleetctl.core.loginscope import check_pattern, describe_wide_pattern
from fleetctl.core.redact import refuse_login

from .rollout import windows

READ_ONLY = frozenset({"Bundle", "BundleDeployment"})
DATA_KINDS = frozenset({"Secret", "ConfigMap"})
LOGIN_STEP = "Take it out, replace it where it was used, and name a Secret with username and password in spec.clientSecretName."
_META = frozenset(
    {"name", "namespace", "labels", "annotations", "creationTimestamp", "generation", "uid", "resourceVersion", "managedFields"}
)
_TOP = {
    "Secret": frozenset({"data", "stringData", "type", "immutable"}),
    "ConfigMap": frozenset({"data", "binaryData", "immutable"}),
}
_SPEC = {
    "Cluster": frozenset({"paused", "clientID", "templateValues"}),
    "ClusterGroup": frozenset({"selector"}),
    "ClusterRegistrationToken": frozenset({"ttl", "labels", "uses"}),
}
# Limits of a ClusterRegistrationToken. Fleet's token without a `ttl` never expires; `uses` is a field of this manager.
TOKEN_TTL_SECONDS, MOST_TOKEN_TTL_SECONDS = 24 * 3600.0, 10 * 365 * 86400.0
TOKEN_USES, MOST_TOKEN_USES = 1000, 1_000_000
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# What only the in-cluster agent pod of Fleet uses: accepted, so that manifests pass unchanged, and without effect.
_POD_ONLY = re.compile(r"agent[A-Z].*|hostNetwork|kubeConfigSecret.*|privateRepoURL|redeployAgentGeneration")


def api_version(kind: str) -> str:
    return "v1" if kind in DATA_KINDS else "fleet.cattle.io/v1alpha1"


def checked(kind: str, workspace: str, name: str, doc: Mapping[str, Any]) -> dict[str, Any]:
    """The document's spec (for Secret and ConfigMap its data), checked. Raises UsageError, RefusedError."""
    if kind in READ_ONLY:
        raise RefusedError(f"a {kind} is made from Git, not written", subject=f"{kind} {name}", next_step="Change the repository instead.")
    if not is_name(name):
        step = "Use small letters, digits, - and dots."
        raise UsageError(f"{name[:80]!r} is not a name that Kubernetes would accept", subject=kind, next_step=step)
    if not is_name(workspace, limit=63):
        raise UsageError(f"{workspace[:80]!r} is not a workspace", subject=f"{kind} {name}", next_step="Name one like fleet-default.")
    _check_head(kind, workspace, name, doc)
    if kind in DATA_KINDS:
        return _data(kind, name, doc)
    spec = doc.get("spec") or {}
    if not isinstance(spec, dict):
        raise UsageError(f"spec of {kind} {name} is not a map", subject=f"{kind} {name}", next_step="Correct the document.")
    _check_spec(kind, name, spec, doc)
    return spec


def _check_head(kind: str, workspace: str, name: str, doc: Mapping[str, Any]) -> None:
    subject = f"{kind} {workspace}/{name}"
    version, meta = doc.get("apiVersion"), doc.get("metadata") or {}
    if doc.get("kind") != kind or version != api_version(kind):
        step = f"Write apiVersion: {api_version(kind)} and kind: {kind}."
        raise UsageError(f"the document is a {version} {doc.get('kind')}", subject=subject, next_step=step)
    if not isinstance(meta, dict) or meta.get("name") != name or meta.get("namespace", workspace) != workspace:
        raise UsageError("metadata.name or namespace is another one", subject=subject, next_step="Correct the metadata.")
    for key in meta:
        if key not in _META:
            raise UsageError(f"unknown key metadata.{key}", subject=subject, next_step="Remove it.")
    for key in ("labels", "annotations"):
        said = meta.get(key) or {}
        if not isinstance(said, dict) or any(not isinstance(v, str) for v in said.values()):
            raise UsageError(f"metadata.{key} must map text to text", subject=subject, next_step="Put quotes around its values.")
    known = {"apiVersion", "kind", "metadata", "status", *(_TOP.get(kind) or ("spec",))}
    for key in doc:
        if key not in known:
            raise UsageError(f"unknown key {key}", subject=subject, next_step=f"A {kind} has {', '.join(sorted(known))}.")


def _check_spec(kind: str, name: str, spec: dict[str, Any], doc: Mapping[str, Any]) -> None:
    subject = f"{kind} {name}"
    if kind == "GitRepo":
        made = repo_spec(dict(doc))
        refuse_login(made.spec.repo, subject, LOGIN_STEP)
        for key, said in (("serviceAccount", made.spec.service_account), ("targetNamespace", made.spec.target_namespace)):
            if said and not is_name(said, limit=63 if key == "targetNamespace" else 253):
                raise UsageError(f"{key} {said[:80]!r} is not a name", subject=subject, next_step="Use small letters, digits and -.")
        duration(made.spec.polling_interval or "15s", subject)
        check_pattern(made.spec.helm_repo_url_regex, subject)
        return
    if kind == "Schedule":
        windows.checked(spec)
        return
    for key in spec:
        if key not in _SPEC[kind] and not (kind == "Cluster" and _POD_ONLY.fullmatch(key)):
            raise InvalidFile(f"unknown key spec.{key}", file=subject, next_step=f"Known are {', '.join(sorted(_SPEC[kind]))}.")
    if kind == "ClusterGroup":
        selector = spec.get("selector")
        if selector is not None and not isinstance(selector, dict):
            raise InvalidFile("spec.selector is not a label selector", file=subject, next_step="Write matchLabels below it.")
        matches(selector, {})
    if kind == "ClusterRegistrationToken":
        token_limits(spec, subject)


def token_limits(spec: Mapping[str, Any], subject: str) -> tuple[float, int]:
    """Lifetime in seconds and number of enrolments of a ClusterRegistrationToken. Raises UsageError."""
    ttl, uses, labels = spec.get("ttl"), spec.get("uses"), spec.get("labels") or {}
    seconds = TOKEN_TTL_SECONDS if ttl is None else duration(ttl if isinstance(ttl, str) else repr(ttl), subject)
    if not 1 <= seconds <= MOST_TOKEN_TTL_SECONDS:
        step = "Write for example ttl: 24h. Create a new token when this one expires."
        raise UsageError(f"spec.ttl {ttl!r} is not between 1s and 87600h (ten years)", subject=subject, next_step=step)
    if uses is None:
        uses = TOKEN_USES
    if not isinstance(uses, int) or isinstance(uses, bool) or not 1 <= uses <= MOST_TOKEN_USES:
        summary = f"spec.uses {str(uses)[:40]!r} is not a whole number from 1 to {MOST_TOKEN_USES:,}"
        raise UsageError(summary, subject=subject, next_step=f"Leave it out for {TOKEN_USES:,}.")
    if not isinstance(labels, dict) or any(not isinstance(value, str) for value in labels.values()):
        raise UsageError("spec.labels must map text to text", subject=subject, next_step="Put quotes around its values.")
    return seconds, uses


def warnings_of(kind: str, doc: Mapping[str, Any]) -> list[str]:
    """What an accepted object should not say: one line each, shown to the person who applied it."""
    if kind != "GitRepo":
        return []
    warning = describe_wide_pattern(repo_spec(dict(doc)).spec.helm_repo_url_regex)
    return [warning] if warning else []


def duration(text: str, subject: str) -> float:
    """Seconds of a Go duration like 1h30m. Raises UsageError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is not a duration", subject=subject, next_step="Write it like 15s, 10m or 1h30m.")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _data(kind: str, name: str, doc: Mapping[str, Any]) -> dict[str, Any]:
    """{"type", "data": {key: base64}} of a Secret, {"data": {key: text}} of a ConfigMap."""
    subject = f"{kind} {name}"
    found: dict[str, str] = {}
    for part in ("data", "binaryData", "stringData"):
        said = doc.get(part) or {}
        if not isinstance(said, dict) or any(not isinstance(v, str) for v in said.values()):
            raise UsageError(f"{part} must map text to text", subject=subject, next_step="Correct the document.")
        for key, value in said.items():
            plain = part == "stringData" or (kind == "ConfigMap" and part == "data")
            found[key] = base64.b64encode(value.encode()).decode() if plain else value
    for key, value in found.items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError as why:
            raise UsageError(f"data.{key} is not base64", subject=subject, next_step="Encode it, or use stringData.") from why
    return {"type": str(doc.get("type") or "Opaque"), "data": found}
