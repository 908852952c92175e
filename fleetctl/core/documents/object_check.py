"""Checks objects that people write: what each kind accepts, for the manager and for `fleetctl
validate`.

Rule: a field that narrows rights is enforced or refused, never only stored.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from fleetctl.core.charts.login_scope import check_pattern, describe_wide_pattern
from fleetctl.core.documents import manifests
from fleetctl.core.documents.convert import Note, Origin, report
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.documents.key_names import judge
from fleetctl.core.documents.schedule import spec_of
from fleetctl.core.formats.git_url import refuse_secrets
from fleetctl.core.formats.labels import check_annotation_keys, check_labels
from fleetctl.core.model.errors import RefusedError, UsageError
from fleetctl.core.model.ids import is_name
from fleetctl.core.text.duration import parse_duration

READ_ONLY = frozenset({"Bundle", "BundleDeployment"})
DATA_KINDS = frozenset({"Secret", "ConfigMap"})
LOGIN_STEP = (
    "Take it out, replace it where it was used, and name a Secret with username and password in"
    " spec.clientSecretName."
)
_TOP = {
    "Secret": frozenset({"data", "stringData", "type", "immutable"}),
    "ConfigMap": frozenset({"data", "binaryData", "immutable"}),
}
# Limits of a ClusterRegistrationToken. Fleet's token without a `ttl` never expires; `uses` is a
# field of this manager.
TOKEN_TTL_SECONDS, MOST_TOKEN_TTL_SECONDS = 24 * 3600.0, 10 * 365 * 86400.0
TOKEN_USES, MOST_TOKEN_USES = 1000, 1_000_000


def api_version(kind: str) -> str:
    return "v1" if kind in DATA_KINDS else "fleet.cattle.io/v1alpha1"


def check_object(
    kind: str,
    workspace: str,
    name: str,
    doc: Mapping[str, Any],
    notes: list[Note] | None = None,
    *,
    check_zone: Callable[[str], object],
) -> dict[str, Any]:
    """Returns the document's spec (for Secret and ConfigMap its data), checked; `notes` receives
    warnings. `check_zone` raises UsageError for a time zone that does not exist. Raises UsageError,
    RefusedError.
    """
    if kind in READ_ONLY:
        raise RefusedError(
            f"a {kind} is made from Git, not written",
            subject=f"{kind} {name}",
            next_step="Change the repository instead.",
        )
    if not is_name(name):
        step = "Use small letters, digits, - and dots."
        raise UsageError(
            f"{name[:80]!r} is not a name that Kubernetes would accept",
            subject=kind,
            next_step=step,
        )
    if not is_name(workspace, limit=63):
        raise UsageError(
            f"{workspace[:80]!r} is not a workspace",
            subject=f"{kind} {name}",
            next_step="Name one like fleet-default.",
        )
    origin = manifests.origin_of(kind, f"{kind} {name}", [] if notes is None else notes)
    _check_head(kind, workspace, name, doc, origin)
    if kind in DATA_KINDS:
        return _data(kind, name, doc)
    spec = manifests.spec_in(kind, doc.get("spec"), origin)
    _check_spec(kind, name, spec, doc)
    if kind == "Schedule":
        check_zone(spec_of(spec).location)
    return spec


def metadata(kind: str, name: str, doc: Mapping[str, Any]) -> dict[str, Any]:
    """name, namespace, labels and annotations. Raises InvalidFile."""
    return manifests.meta_of(doc, manifests.origin_of(kind, f"{kind} {name}", []))


def _check_head(
    kind: str, workspace: str, name: str, doc: Mapping[str, Any], origin: Origin
) -> None:
    subject = f"{kind} {workspace}/{name}"
    version = doc.get("apiVersion")
    if doc.get("kind") != kind or version != api_version(kind):
        step = f"Write apiVersion: {api_version(kind)} and kind: {kind}."
        raise UsageError(
            f"the document is a {version} {doc.get('kind')}", subject=subject, next_step=step
        )
    meta = manifests.meta_of(doc, origin)
    if meta.get("name") != name or meta.get("namespace", workspace) != workspace:
        summary = "metadata.name or metadata.namespace is not the one in the address"
        raise UsageError(summary, subject=subject, next_step="Correct the metadata.")
    check_labels(meta.get("labels") or {}, subject)
    check_annotation_keys(meta.get("annotations") or {}, subject)
    known_keys = ["apiVersion", "kind", "metadata", "status", *(_TOP.get(kind) or ("spec",))]
    for key, value in doc.items():
        if key not in known_keys and value is not None:
            report(judge(key, known_keys, (), {}), origin, (key,))


def _check_spec(kind: str, name: str, spec: dict[str, Any], doc: Mapping[str, Any]) -> None:
    subject = f"{kind} {name}"
    if kind == "GitRepo":
        repo = repo_spec({**doc, "spec": spec})
        refuse_secrets(repo.spec.repo, subject, LOGIN_STEP)
        for key, text in (
            ("serviceAccount", repo.spec.service_account),
            ("targetNamespace", repo.spec.target_namespace),
        ):
            if text and not is_name(text, limit=63 if key == "targetNamespace" else 253):
                raise UsageError(
                    f"{key} {text[:80]!r} is not a name",
                    subject=subject,
                    next_step="Use small letters, digits and -.",
                )
        duration(repo.spec.polling_interval or "15s", subject, key="spec.pollingInterval")
        check_pattern(repo.spec.helm_repo_url_regex, subject)
    if kind == "ClusterRegistrationToken":
        token_limits(spec, subject)


def token_limits(spec: Mapping[str, Any], subject: str) -> tuple[float, int]:
    """Lifetime in seconds and number of enrolments of a ClusterRegistrationToken. Raises
    UsageError.
    """
    ttl, uses, labels = spec.get("ttl"), spec.get("uses"), spec.get("labels") or {}
    seconds = TOKEN_TTL_SECONDS
    if ttl is not None:
        seconds = duration(ttl if isinstance(ttl, str) else repr(ttl), subject, key="spec.ttl")
    if not 1 <= seconds <= MOST_TOKEN_TTL_SECONDS:
        step = "Write for example ttl: 24h. Create a new token when this one expires."
        raise UsageError(
            f"spec.ttl {ttl!r} is not between 1s and 87600h (ten years)",
            subject=subject,
            next_step=step,
        )
    if uses is None:
        uses = TOKEN_USES
    if not isinstance(uses, int) or isinstance(uses, bool) or not 1 <= uses <= MOST_TOKEN_USES:
        summary = (
            f"spec.uses {str(uses)[:40]!r} is not a whole number from 1 to {MOST_TOKEN_USES:,}"
        )
        raise UsageError(summary, subject=subject, next_step=f"Leave it out for {TOKEN_USES:,}.")
    if not isinstance(labels, dict) or any(not isinstance(value, str) for value in labels.values()):
        raise UsageError(
            "spec.labels must map text to text",
            subject=subject,
            next_step="Put quotes around its values.",
        )
    check_labels(labels, subject)
    return seconds, uses


def warnings_of(kind: str, doc: Mapping[str, Any]) -> list[str]:
    """What an accepted object should not say: one line each, shown to the person who applied it."""
    if kind != "GitRepo":
        return []
    warning = describe_wide_pattern(repo_spec(dict(doc)).spec.helm_repo_url_regex)
    return [warning] if warning else []


def duration(text: str, subject: str, *, key: str = "") -> float:
    """Seconds of a Go duration like 1h30m; `key` names it in errors. Raises UsageError."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(
            f"{key} {error}" if key else str(error),
            subject=subject,
            next_step="Write it like 15s, 10m or 1h30m.",
        ) from error


def _data(kind: str, name: str, doc: Mapping[str, Any]) -> dict[str, Any]:
    """{"type", "data": {key: base64}} of a Secret, {"data": {key: text}} of a ConfigMap."""
    subject = f"{kind} {name}"
    base64_values: dict[str, str] = {}
    for part in ("data", "binaryData", "stringData"):
        entries = doc.get(part) or {}
        if not isinstance(entries, dict) or any(not isinstance(v, str) for v in entries.values()):
            raise UsageError(
                f"{part} must map text to text", subject=subject, next_step="Correct the document."
            )
        for key, value in entries.items():
            plain = part == "stringData" or (kind == "ConfigMap" and part == "data")
            base64_values[key] = base64.b64encode(value.encode()).decode() if plain else value
    for key, value in base64_values.items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError as error:
            raise UsageError(
                f"data.{key} is not base64",
                subject=subject,
                next_step="Encode it, or use stringData.",
            ) from error
    return {"type": str(doc.get("type") or "Opaque"), "data": base64_values}
