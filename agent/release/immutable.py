"""What the API server refuses to change, and drift that comes back.

Rule: an object is made anew only where `force` says so and the API server refuses the change
because a field is immutable; never what holds data or other objects. (helm's `--force-replace` does
not do this: it replaces, which is refused in the same words, helm 4.2.3.) Drift is put right at
once the first time, and with growing pauses as long as something changes it back.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from fleetctl.core.formats.url_path import in_namespace, url_path
from fleetctl.core.model.errors import DeadlineError, NotFound, ToolFailed
from fleetctl.core.model.ids import BundleName, Generation
from fleetctl.core.model.status import ResourceStatus
from fleetctl.core.model.wire import DesiredBundle
from fleetctl.tools import helm_errors
from fleetctl.tools.helm import Release, Revision
from fleetctl.tools.helm_errors import HelmFailed

from ..host.failpoints import failpoint
from ..host.log import event, trouble
from ..kube.client import Kube

if TYPE_CHECKING:
    from ..loops.state import Situation
    from ..state.journal import Entry

GONE_SECONDS = 60.0
# helm names every object that is refused; those that only show when others are new come in the next
# round
_ROUNDS = 4
_PRECIOUS = frozenset(
    {"PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"}
)
_IMMUTABLE = re.compile(
    r"immutable|may not (?:be )?change|cannot (?:be )?change|updates to .{0,300}forbidden",
    re.IGNORECASE,
)
_FIELD = re.compile(r"^\[?([\w.\[\]-]+): ")
_MOST_SAID = 160


class ImmutableField(ToolFailed):
    """The API server does not change a field of an object that exists."""

    code = "immutable"


@dataclass(frozen=True)
class ImmutableRefusal:
    """One object whose change was refused because a field of it is immutable."""

    api_version: str
    kind: str
    namespace: str
    name: str
    field: str
    why: str

    @property
    def shown(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}".replace(" /", " ")


def refusals(said: str) -> list[ImmutableRefusal]:
    """The objects that helm names as refused for good; empty when it failed for another reason too,
    because then nothing may be deleted.
    """
    found: list[ImmutableRefusal] = []
    for one in helm_errors.refusals(said):
        if not _IMMUTABLE.search(one.cause):
            return []
        field = _FIELD.search(one.cause)
        reason = (
            one.cause.rpartition("}: ")[2]
            .rpartition("]: ")[2]
            .rpartition("Forbidden: ")[2]
            .rpartition('": ')[2][:_MOST_SAID]
        )
        found.append(
            ImmutableRefusal(
                one.api_version,
                one.kind,
                one.namespace,
                one.name,
                field[1] if field else "",
                reason,
            )
        )
    return found


async def carried_out(
    kube: Kube,
    release: Release,
    run: Callable[[], Awaitable[Revision]],
    *,
    force: bool,
    keep_failed: bool,
) -> Revision:
    """`run` helm; with `force` the objects that it cannot change are made anew. Records of runs
    that failed so go unless `keep_failed`. Raises Immutable naming object and field, DeadlineError
    for one that does not go, and whatever `run` raises.
    """
    for _ in range(_ROUNDS):
        try:
            return await run()
        except HelmFailed as why:
            if not keep_failed:
                await forget_failed(kube, release)
            found = refusals(why.said)
            if not found:
                raise
            _refuse(found, why, force=force)
        for one in found:
            event("an object is made anew", object=one.shown, field=one.field)
            await _delete(kube, await _located(kube, one, release))
            failpoint("object-deleted")
    return await run()


def _refuse(found: list[ImmutableRefusal], why: HelmFailed, *, force: bool) -> None:
    kept = next((one for one in found if one.kind in _PRECIOUS), None)
    if force and kept is None:
        return
    one = kept if force and kept else found[0]
    precious = one.kind in _PRECIOUS
    step = (
        "helm.force does not make anew what holds data"
        if precious
        else "helm.force: true would make the object anew"
    )
    other = (
        "delete the object by hand when what it holds may go"
        if precious
        else "set helm.force: true"
    )
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise ImmutableField(
        f"{one.shown}: {one.field}: {one.why}{more}; {step}",
        subject=one.shown,
        next_step=f"Change it back in Git, or {other}.",
    ) from why


async def forget_failed(kube: Kube, release: Release) -> None:
    """Delete the records of failed runs that came after the deployed revision."""
    path = in_namespace(
        release.namespace, "secrets", labelSelector=f"owner=helm,name={release.name}"
    )
    found = (await kube.call("GET", path)).get("items") or []
    labels = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in found}
    deployed = max(
        (
            int(known.get("version", 0))
            for known in labels.values()
            if known.get("status") == "deployed"
        ),
        default=0,
    )
    for name, known in labels.items():
        if deployed and known.get("status") == "failed" and int(known.get("version", 0)) > deployed:
            await kube.call("DELETE", in_namespace(release.namespace, "secrets", name))


async def _located(kube: Kube, one: ImmutableRefusal, release: Release) -> ImmutableRefusal:
    """With an API version and a namespace, which helm does not name when it applies client-side."""
    group, _, version = one.api_version.rpartition("/")
    api = one.api_version
    if version == "*":
        api = (await kube.call("GET", url_path("apis", group)))["preferredVersion"]["groupVersion"]
    return replace(one, api_version=api, namespace=one.namespace or release.namespace)


async def _delete(kube: Kube, one: ImmutableRefusal) -> None:
    """Gone when this returns. Pods of a StatefulSet stay for the new one, unless its selector is
    what changes.
    """
    orphans = one.kind == "StatefulSet" and "selector" not in one.field
    body = msgspec.json.encode({"propagationPolicy": "Orphan" if orphans else "Background"})
    try:
        path = await kube.object_path(one.api_version, one.kind, one.namespace, one.name)
        uid = (await kube.call("GET", path))["metadata"]["uid"]
        await kube.call("DELETE", path, body, {"content-type": "application/json"})
        end = time.monotonic() + GONE_SECONDS
        while (left := (await kube.call("GET", path))["metadata"])["uid"] == uid:
            if time.monotonic() > end:
                held = ", ".join(left.get("finalizers") or []) or "its API server"
                summary = f"{one.shown} does not go within {GONE_SECONDS:g} s: {held} holds it"
                raise DeadlineError(summary, subject=one.shown, next_step="Look at its finalizers.")
            await asyncio.sleep(0.1)
    except NotFound:
        return


@dataclass
class _Fight:
    generation: Generation
    count: int = 0
    last: float = 0.0
    until: float = 0.0
    asked: bool = False  # somebody looks again when the pause is over


class Corrections:
    """When drift of each bundle is put right: at once, then after pauses that double up to 10 min.
    A bundle that stays as it is for twice its pause, and at least a minute, begins anew, and so
    does a new generation. Times are seconds of one clock.
    """

    PAUSE = (5.0, 600.0)
    CALM = 60.0

    def __init__(self) -> None:
        self._fights: dict[BundleName, _Fight] = {}

    def seen(
        self, bundle: BundleName, generation: Generation, now: float, *, drifted: bool
    ) -> bool:
        """Whether it is to be put right now."""
        fight = self._fights.get(bundle)
        if fight and (
            fight.generation != generation
            or (not drifted and now > fight.last + max(self.CALM, 2 * (fight.until - fight.last)))
        ):
            del self._fights[bundle]
            fight = None
        if not drifted:
            return False
        if fight is None:
            fight = self._fights[bundle] = _Fight(generation)
        if now < fight.until:
            return False
        low, high = self.PAUSE
        fight.count += 1
        fight.last, fight.until, fight.asked = (
            now,
            now + min(high, low * 2.0 ** (fight.count - 1)),
            False,
        )
        return True

    def wait(self, bundle: BundleName, now: float) -> float:
        """Seconds until it may be put right again, told once for each pause; else 0."""
        fight = self._fights.get(bundle)
        if fight is None or fight.asked or now >= fight.until:
            return 0.0
        fight.asked = True
        return fight.until - now

    def note(self, bundle: BundleName) -> str:
        """For the report, when something fights us; else "". It stays the same until the next
        correction.
        """
        fight = self._fights.get(bundle)
        if fight is None or fight.count < 2:
            return ""
        return (
            f"; put right {fight.count} times and changed back each time, the next time after"
            f" {fight.until - fight.last:.0f} s"
        )


def is_asked(bundle: DesiredBundle, entry: Entry) -> bool:
    """Whether a person asked for a correction that was not carried out yet. A new generation
    corrects, too.
    """
    return (
        bundle.correction > entry.corrected
        and not bundle.paused
        and entry.applied >= bundle.generation
        and not entry.began
    )


def carry_out(
    at: Situation, bundle: DesiredBundle, entry: Entry, resources: list[ResourceStatus]
) -> None:
    """Apply the bundle again when something of it differs from Git; else note that there is nothing
    to do.
    """
    changed = [r for r in resources if r.drifted and r.state != "Orphaned" and not r.owner]
    if changed:
        what = ", ".join(f"{one.kind} {one.namespace}/{one.name}" for one in changed[:3])
        event("drift is corrected because somebody asked for it", bundle=bundle.name, objects=what)
        at.again.add(bundle.name)
        at.work.set()
        return
    try:
        at.context.journal.put(msgspec.structs.replace(entry, corrected=bundle.correction))
    except OSError as why:
        trouble(f"bundle {bundle.name}", f"the journal cannot be written: {why}")


def notice(at: Situation, bundle: DesiredBundle, differing: list[ResourceStatus]) -> None:
    """Drift was looked for in a bundle whose drift is to be put right, and this was found."""
    now = time.monotonic()
    if at.corrections.seen(bundle.name, bundle.generation, now, drifted=bool(differing)):
        what = ", ".join(f"{one.kind} {one.namespace}/{one.name}" for one in differing[:3])
        event("drift is put right", bundle=bundle.name, objects=what)
        at.again.add(bundle.name)
        at.work.set()
    elif differing and (seconds := at.corrections.wait(bundle.name, now)):
        asyncio.get_running_loop().call_later(seconds + 0.1, _look_again, at, bundle.name)


def _look_again(at: Situation, bundle: BundleName) -> None:
    at.unseen.add(bundle)
    at.look.set()
