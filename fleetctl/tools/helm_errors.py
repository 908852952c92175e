"""Errors of a helm run, from what helm prints.

helm has no other form of an error than its text, and for some refusals the API server has no
reason but a message. This module is the only place that reads either text; all others decide by the
class of the error, or by the objects that the functions here find in it. Summaries begin with the
object and the cause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleetctl.core.model.errors import (
    ClusterUnreachable,
    DeleteFailed,
    FleetError,
    HelmFailed,
    HelmForbidden,
    HelmRefusedByForm,
    KubeVersionMismatch,
    NoKind,
    NotDecodable,
    NotOurs,
    NotServed,
    PendingOperation,
    RecordTaken,
    RecordTooLarge,
    ReleaseNotFound,
    WebhookFailed,
)
from fleetctl.core.text.listing import count_others

_MOST_SAID = 700
_MOST_READ = 256 * 1024  # a chart's `fail` may say megabytes
_MOST_SHOWN = 3  # objects in one summary
_TOO_LARGE = re.compile(
    r"(?P<field>Too long: may not be more than)|Request entity too large: limit is|etcdserver:"
    r" request is too large"
)
_ALREADY = re.compile(r"(?:^|: )release: already exists|cannot re-use a name that is still in use")
_NOISE = re.compile(r"^(WARNING|level=|time=|[IWE]\d{4} )")
_HEAD = re.compile(r"^(?:Error: )?(?:(?:UPGRADE|INSTALLATION|ROLLBACK) FAILED: )?")
_OBJECT = re.compile(
    r"for object (?P<namespace>[^/\s]*)/(?P<name>\S*) (?P<api>[^\s,]*), Kind=(?P<kind>\w+):"
    r" (?P<cause>.*?)"
    r"(?=(?: && )? ?server-side apply failed for object|\Z)"
)
# As helm says it of client-side apply: without API version and namespace.
_PATCH = re.compile(
    r'cannot patch "(?P<name>[^"]+)" with kind (?P<kind>\w+): (?P<cause>.*?)(?=(?: && )? ?cannot'
    r' patch "|\Z)'
)
_UNKNOWN_KIND = re.compile(
    r'(?:for name: "(?P<name>[^"]*)" namespace: "(?P<namespace>[^"]*)" from "": )?'
    r'no matches for kind "(?P<kind>\w+)" in version "(?P<api>[^"]+)"'
)
_NO_NAMESPACE = re.compile(r'namespaces "[^"]+" not found')
_WEBHOOK = re.compile(r'failed calling webhook "(?P<name>[^"]+)": (?P<cause>.*)')
_HOOK = re.compile(
    r"Hook (?P<event>(?:pre|post)-[a-z]+) (?P<file>\S+) failed|(?P<other>(?:pre|post)-[a-z]+)"
    r" hooks? failed"
)
_FORM = re.compile(
    r"^failed to create (?:typed (?:patch|live) object|manager for existing"
    r" fields)[^:]*(?:\([^)]*\))?: "
)
_KUBE_VERSION = re.compile(
    r"chart requires kubeVersion: (?P<wanted>.{1,200}?) which is incompatible with Kubernetes"
    r" (?P<version>[^\s,;]+)"
)
_INVALID = re.compile(r'^\S+ "[^"]*" is invalid: ')
_IMMUTABLE = re.compile(
    r"immutable|may not (?:be )?change|cannot (?:be )?change|updates to .{0,300}forbidden",
    re.IGNORECASE,
)
_FIELD = re.compile(r"^\[?([\w.\[\]-]+): ")
_MOST_REASON = 160
_NO_RELEASE = "release: not found"
# The API server cannot read the body in any way, so client-side apply fails as well.
_UNREADABLE = ("cannot be handled as a", "json: cannot unmarshal")
# By what helm complains of, the class of an error that has no better one. The first match counts.
_CLASSES: tuple[tuple[str, type[HelmFailed]], ...] = (
    ("unable to decode", NotDecodable),
    ("failed to delete release", DeleteFailed),
    ("no matches for kind", NotServed),
    ("could not find the requested resource", NotServed),
    ("forbidden", HelmForbidden),
)


@dataclass(frozen=True)
class Refusal:
    """One object that the API server refused, and why. `api_version` may be GROUP/* and `namespace`
    empty where helm does not name them. `by_form`: only server-side apply refuses it, for the form
    of the manifest.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    cause: str
    by_form: bool = False

    @property
    def shown(self) -> str:
        return (
            f"{self.kind}"
            f" {self.namespace + '/' if self.namespace else ''}{self.name or '(without a name)'}"
        )

    def __str__(self) -> str:
        return f"{self.shown}: {self.cause}"


@dataclass(frozen=True)
class ImmutableRefusal:
    """One object whose change the API server refused because a field of it is immutable."""

    api_version: str
    kind: str
    namespace: str
    name: str
    field: str
    reason: str

    @property
    def display_name(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}".replace(" /", " ")


def translate(stderr: bytes, release: object) -> FleetError:
    """helm's error as one of ours: what stands from its last `Error:` on, in one line without
    terminal codes.
    """
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    message_lines = [line for line in lines if line and not _NOISE.match(line)]
    start = max(
        (at for at, line in enumerate(message_lines) if line.startswith("Error: ")),
        default=max(0, len(message_lines) - 1),
    )
    whole = " ".join(message_lines[start:]).removeprefix("Error: ")[:_MOST_READ]
    summary = _printable(whole)[:_MOST_SAID] or "helm ended without a message"
    if "another operation" in summary:
        return PendingOperation(
            summary,
            subject=str(release),
            next_step="Wait for it, or let the agent recover the release.",
        )
    if "invalid ownership metadata" in summary:
        step = (
            "Take the object out of the bundle, or let the bundle have it with helm.takeOwnership:"
            " true."
        )
        return NotOurs(summary, subject=str(release), next_step=step)
    mismatch = _KUBE_VERSION.search(whole)
    if mismatch:
        step = (
            "Use a version of the chart for this Kubernetes, for example in a customization of the"
            " cluster."
        )
        return KubeVersionMismatch(
            f"the chart requires Kubernetes {mismatch['wanted']}, and this is"
            f" {mismatch['version']}",
            wanted=mismatch["wanted"],
            version=mismatch["version"],
            subject=str(release),
            next_step=step,
        )
    webhook = _WEBHOOK.search(whole)
    if webhook is None and ("cluster unreachable" in summary or "connection refused" in summary):
        return ClusterUnreachable(
            summary, subject=str(release), next_step="Check the API server and the kubeconfig."
        )
    if _is_too_large(whole):
        return RecordTooLarge(
            summary,
            subject=str(release),
            next_step="Make it smaller, or split it into several bundles.",
        )
    if _ALREADY.search(whole):
        return RecordTaken(
            _HEAD.sub("", summary),
            subject=str(release),
            next_step="Look at the release's records (kubectl get secret).",
        )
    if _NO_RELEASE in summary:
        return ReleaseNotFound(summary, subject=str(release), next_step="Look with `helm list`.")
    error = (
        _error_of_unknown_kind(whole, release)
        or _error_of_refusals(whole, release, webhook)
        or _class_of(whole)(_HEAD.sub("", summary), subject=str(release), next_step=_step_of(whole))
    )
    error.output = whole
    return error


def _class_of(output: str) -> type[HelmFailed]:
    return next((kind for text, kind in _CLASSES if text in output), HelmFailed)


def _is_too_large(text: str) -> bool:
    """Whether the API server refused the record of the release, which is a Secret, for its size."""
    return any(
        not match["field"] or "Secret " in text[max(0, match.start() - 500) : match.start()]
        for match in _TOO_LARGE.finditer(text)
    )


def refusals(error: HelmFailed) -> list[Refusal]:
    """The objects that the API server refused."""
    return _refusals(error.output)


def _refusals(output: str) -> list[Refusal]:
    server_side = [
        _refusal(match, match["namespace"], match["api"]) for match in _OBJECT.finditer(output)
    ]
    return server_side or [
        _refusal(match, "", _any_version(match["cause"])) for match in _PATCH.finditer(output)
    ]


def immutable_refusals(error: HelmFailed) -> list[ImmutableRefusal]:
    """The objects whose change the API server refused for good; empty when helm failed for another
    reason too, because then nothing may be deleted.
    """
    result: list[ImmutableRefusal] = []
    for refusal in refusals(error):
        if not _IMMUTABLE.search(refusal.cause):
            return []
        field = _FIELD.search(refusal.cause)
        reason = refusal.cause
        for mark in ("}: ", "]: ", "Forbidden: ", '": '):
            reason = reason.rpartition(mark)[2]
        result.append(
            ImmutableRefusal(
                refusal.api_version,
                refusal.kind,
                refusal.namespace,
                refusal.name,
                field[1] if field else "",
                reason[:_MOST_REASON],
            )
        )
    return result


def is_unreadable(error: HelmFailed) -> bool:
    """Whether the API server cannot read an object, server-side or client-side."""
    return any(text in error.output for text in _UNREADABLE)


def unknown_kinds(error: HelmFailed) -> list[tuple[str, str]]:
    """(apiVersion, kind) of what helm did not find on the cluster."""
    return list(
        dict.fromkeys(
            (match["api"], match["kind"]) for match in _UNKNOWN_KIND.finditer(error.output)
        )
    )


def form_of(message: str) -> str:
    """What server-side apply does not take of one object, from the API server's message; "" for any
    other message.
    """
    text = " ".join(_printable(message).split())
    return _fields(text) if _FORM.match(text) else ""


def webhook_of(message: str) -> str:
    """The admission webhook that did not answer the API server, from its message; "" for any other
    message.
    """
    match = _WEBHOOK.search(message)
    return match["name"] if match else ""


def is_dry_run_refused(message: str) -> bool:
    """Whether the API server refused because a webhook cannot take part in a dry run."""
    return "dry run" in message


def _refusal(match: re.Match[str], namespace: str, api: str) -> Refusal:
    cause = " ".join(_printable(match["cause"]).split()).removesuffix("&&").strip()
    by_form = bool(_FORM.match(cause))
    cause = _fields(cause)
    return Refusal(
        api.removeprefix("/"),
        match["kind"],
        namespace,
        match["name"],
        _INVALID.sub("", cause),
        by_form,
    )


def _any_version(cause: str) -> str:
    """The API group in `Deployment.apps "web" is invalid`, as `apps/*`; `v1` for the group without
    a name.
    """
    match = _INVALID.match(cause)
    group = match[0].partition(" ")[0].partition(".")[2] if match else ""
    return f"{group}/*" if group else "v1"


def _fields(cause: str) -> str:
    """The fields of a refusal by form, with commas between them."""
    return (
        _FORM.sub("", cause)
        .removeprefix("errors: ")
        .replace(" field not declared in schema .", " field not declared in schema, .")
    )


def _error_of_unknown_kind(whole: str, release: object) -> NoKind | None:
    matches = list(_UNKNOWN_KIND.finditer(whole))
    if not matches:
        return None
    first = matches[0]
    needs = f", which {first['kind']} {first['name']} needs" if first["name"] else ""
    rest = count_others(len(matches) - 1, "object")
    summary = (
        f'the cluster has no matches for kind "{first["kind"]}" in version'
        f' "{first["api"]}"{needs}{rest}'
    )
    step = "Install its CustomResourceDefinition, or add the bundle that installs it to dependsOn."
    return NoKind(
        summary,
        subject=f"{first['kind']} {first['name'] or ''}".strip() or str(release),
        next_step=step,
    )


def _error_of_refusals(
    whole: str, release: object, webhook: re.Match[str] | None
) -> HelmFailed | None:
    refused_objects = _refusals(whole)
    hook = _HOOK.search(whole)
    start = _hook_of(hook)
    if webhook is not None:
        about = refused_objects[0].shown if refused_objects else str(release)
        summary = (
            f'{start}{about}: webhook "{webhook["name"]}" does not answer:'
            f" {_printable(webhook['cause'])}"
        )[:_MOST_SAID]
        step = (
            f"Repair the service of webhook {webhook['name']}, or delete its webhook"
            " configuration if the service is no longer used."
        )
        return WebhookFailed(summary, subject=about, next_step=step)
    if not refused_objects:
        return None
    texts = "; ".join(map(str, refused_objects[:_MOST_SHOWN]))[:_MOST_SAID]
    rest = count_others(len(refused_objects) - _MOST_SHOWN, "object")
    kind = (
        HelmRefusedByForm
        if all(refusal.by_form for refusal in refused_objects)
        else _class_of(whole)
    )
    return kind(
        f"{start}{texts}{rest}", subject=refused_objects[0].shown, next_step=_step_of(whole)
    )


def _hook_of(hook: re.Match[str] | None) -> str:
    """The event and the file of a hook that failed, as the beginning of a summary."""
    if hook is None:
        return ""
    return (
        f"hook {hook['event']} ({hook['file']}): " if hook["event"] else f"hook {hook['other']}: "
    )


def _step_of(whole: str) -> str:
    """The next step, by what helm complains of."""
    if _HOOK.search(whole):
        return (
            "Read the log of the hook's Pod, and correct it; the hook runs again at the next try."
        )
    if "resource name may not be empty" in whole:
        return "Give the object a metadata.name; a release cannot hold metadata.generateName."
    if _NO_NAMESPACE.search(whole):
        return "Create the namespace, or state it in the bundle."
    if "context deadline exceeded" in whole or "timed out waiting" in whole:
        return (
            "Look why the objects do not become ready (`kubectl get events`), or raise"
            " helm.timeoutSeconds."
        )
    return "Correct the bundle; the agent tries again."


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
