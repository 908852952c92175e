"""What `fleet-agent check` finds in the cluster: login, rights for what the bundles here need,
release records that hang.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fleetctl.core.formats.url_path import core_path
from fleetctl.core.model.errors import FleetError, HelmForbidden, NotFound
from fleetctl.core.model.ids import BundleName, ClusterId
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.model.wire import Desired
from fleetctl.core.rendering.render import release_of
from fleetctl.core.text.listing import list_names
from fleetctl.tools.helm import HelmCli, Release

from ..config import AgentConfig
from ..kube.client import Kube
from ..kube.impersonation import Rights
from ..kube.kubeconfig_search import find_kubeconfig
from ..release.records import LEAVING, PENDING, RecordHeader
from ..release.recovery import list_releases, places_of
from ..state.journal import Entry
from .finding import CheckFinding, attempt, failure

_MOST_PLACES = 25
_MOST_NAMED = 5
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Right:
    """What a SelfSubjectAccessReview asks for; `namespace` "" is everywhere."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        place = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{f' {self.name}' if self.name else ''}{place}"


@dataclass(frozen=True)
class BundleFacts:
    """What is known here of bundles: of an agent that has not enrolled nothing."""

    cluster_id: str = ""
    entries: Mapping[BundleName, Entry] = field(default_factory=dict)
    document: Desired | None = None
    accounts: str = ""  # the namespace of the accounts that bundles name


async def check(config: AgentConfig, enrolled_path: str, facts: BundleFacts) -> list[CheckFinding]:
    with tempfile.TemporaryDirectory(prefix="fleet-agent-check-") as folder:
        try:
            path = find_kubeconfig(
                config.kubeconfig, enrolled_path, Path(folder), config.environment
            )
            kube = Kube(path)
        except FleetError as error:
            return [failure("cluster", error)]
        try:
            findings = [await attempt("cluster", lambda: _version(kube, path))]
            if findings[0].ok:
                findings.append(
                    await attempt(
                        "helm and the cluster",
                        lambda: _helm(config.tools.helm, kube, path, Path(folder)),
                    )
                )
                findings.append(await attempt("rights", lambda: rights(kube, facts)))
                if facts.cluster_id:
                    findings += await _releases(kube, facts)
                    findings += await _leaving(kube, facts)
            return findings
        finally:
            await kube.close()


async def _version(kube: Kube, path: Path) -> CheckFinding:
    began = time.monotonic()
    version = await kube.version()
    took = (time.monotonic() - began) * 1000
    return CheckFinding(
        "cluster", ok=True, text=f"Kubernetes {version} at {kube.server}, by {path} ({took:.0f} ms)"
    )


async def _helm(binary: str, kube: Kube, path: Path, folder: Path) -> CheckFinding:
    """helm asks for a release that nobody has: it needs what every run of it needs."""
    subject = "helm and the cluster"
    if not binary:
        return CheckFinding(
            subject,
            ok=None,
            text="not tried without helm",
            next_step="Install helm 4.1.4 or later.",
        )
    helm = HelmCli([binary], kubeconfig=path, home=folder / "helm")
    began = time.monotonic()
    try:
        await helm.history(Release("fleet-agent-check", kube.namespace), deadline=30)
    except HelmForbidden:
        return CheckFinding(
            subject,
            ok=True,
            text=f"helm reaches it, but may not read namespace {kube.namespace}",
        )
    return CheckFinding(
        subject, ok=True, text=f"helm reaches it ({(time.monotonic() - began) * 1000:.0f} ms a run)"
    )


async def rights(kube: Kube, facts: BundleFacts) -> CheckFinding:
    """Everything, or what the bundles here need; before there are bundles, what it may not do is
    only a note.
    """
    if await _may(kube, Right("*", "*", "*")):
        return CheckFinding("rights", ok=True, text="may do everything on this cluster")
    required_rights = needs(facts)
    answers = await asyncio.gather(*(_may(kube, right) for right in required_rights))
    lacking = [right for right, yes in zip(required_rights, answers, strict=True) if not yes]
    wide = [Right("create", "namespaces"), Right("list", "secrets")]
    narrow = [
        str(right)
        for right, yes in zip(
            wide, await asyncio.gather(*(_may(kube, r) for r in wide)), strict=True
        )
        if not yes
    ]
    if lacking:
        step = (
            "Grant it to the agent, or give the bundles a serviceAccount that has it"
            " (docs/security.md)."
        )
        names = list_names([str(r) for r in lacking], _MOST_NAMED)
        return CheckFinding(
            "rights",
            ok=False,
            text=f"may not {names}, which bundles of this cluster need",
            next_step=step,
        )
    if narrow:
        step = (
            "This is sufficient for bundles in namespaces that exist and are granted, and"
            " for bundles with a serviceAccount."
        )
        return CheckFinding(
            "rights",
            ok=None,
            text=f"are narrow: may not {list_names(narrow, _MOST_NAMED)} everywhere",
            next_step=step,
        )
    return CheckFinding("rights", ok=True, text="sufficient for the bundles of this cluster")


def needs(facts: BundleFacts) -> list[Right]:
    """What the bundles of the document need of the agent itself: helm's records where they are
    installed, or to act as their account.
    """
    rights: dict[Right, None] = {}
    for bundle in facts.document.bundles if facts.document else []:
        account = bundle.options.service_account or ""
        if account:
            rights[
                Right("impersonate", "serviceaccounts", namespace=facts.accounts, name=account)
            ] = None
        else:
            _, namespace = release_of(bundle.options, bundle.name)
            for verb in ("get", "list", "create", "update", "delete"):
                rights[Right(verb, "secrets", namespace=namespace)] = None
    return list(rights)[: 5 * _MOST_PLACES]


async def _may(kube: Kube, right: Right) -> bool:
    about = {
        "verb": right.verb,
        "group": right.group,
        "resource": right.resource,
        "namespace": right.namespace,
        "name": right.name,
    }
    spec = {"resourceAttributes": {key: value for key, value in about.items() if value}}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": spec,
    }
    review = await kube.call("POST", _REVIEW, msgspec.json.encode(body), _JSON)
    return bool((review.get("status") or {}).get("allowed"))


async def _releases(kube: Kube, facts: BundleFacts) -> list[CheckFinding]:
    """Release records of ours that a helm has left in the middle."""
    places = sorted(places_of(facts.entries.values(), facts.document))[:_MOST_PLACES]
    try:
        listing = await list_releases(
            Rights(kube, facts.accounts), ClusterId(facts.cluster_id), places
        )
    except FleetError as error:
        return [failure("releases", error)]
    if listing.refusals:
        namespace, refusal = next(iter(listing.refusals.items()))
        text = f"cannot be listed in namespace {namespace}: {refusal.summary}"
        return [CheckFinding("releases", ok=None, text=text, next_step="See the line on rights.")]
    return hanging(listing.records)


def hanging(records: Iterable[RecordHeader]) -> list[CheckFinding]:
    """Pure: pending and half removed ones, by name."""
    newest: dict[tuple[str, str], RecordHeader] = {}
    for record in records:
        if record.place not in newest or record.version > newest[record.place].version:
            newest[record.place] = record
    findings = []
    for states, word, step in (
        (
            PENDING,
            "a helm is at work on, or was cut off at",
            "A running agent repairs it within a minute; no object is deleted.",
        ),
        (
            LEAVING,
            "were not removed to the end:",
            "The agent continues the removal; its log names the object that blocks it.",
        ),
    ):
        names = sorted(
            f"{r.namespace}/{r.release} ({r.status})" for r in newest.values() if r.status in states
        )
        if names:
            findings.append(
                CheckFinding(
                    "releases",
                    ok=None,
                    text=f"{word} {list_names(names, _MOST_NAMED)}",
                    next_step=step,
                )
            )
    return findings or [
        CheckFinding(
            "releases", ok=True, text=f"{len(newest)} of this agent, none in the middle of a change"
        )
    ]


async def _leaving(kube: Kube, facts: BundleFacts) -> list[CheckFinding]:
    """Namespaces of ours that do not go, and why Kubernetes says so."""
    findings: list[CheckFinding] = []
    for namespace in sorted({e.namespace for e in facts.entries.values() if e.namespace})[
        :_MOST_PLACES
    ]:
        try:
            live = await kube.call("GET", core_path("namespaces", namespace))
        except NotFound:
            continue
        except FleetError:
            return findings
        if (live.get("status") or {}).get("phase") == "Terminating":
            text = (
                f"namespace {namespace} is being deleted and still"
                f" exists{_termination_reason(live)}"
            )
            step = (
                "Remove what blocks it. If the controller of a finalizer no longer exists,"
                " remove the finalizer by hand."
            )
            findings.append(CheckFinding("removal", ok=None, text=text, next_step=step))
    return findings


def _termination_reason(namespace: JsonObject) -> str:
    conditions = (namespace.get("status") or {}).get("conditions") or []
    messages = [
        str(c.get("message", ""))
        for c in conditions
        if c.get("status") == "True" and c.get("message")
    ]
    return f": {'; '.join(messages)[:400]}" if messages else ""
