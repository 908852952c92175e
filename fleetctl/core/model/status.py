"""Fleet's states and what an agent reports of one deployment.

Source of words and ranks: rancher/fleet `bundle_types.go` (StateRank) and
`summary.GetDeploymentState`. `Offline`, `WaitingForDependency` and `WaitingForWindow` are ours. The
highest rank is what a person sees first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from fleetctl.core.model.ids import BundleName, Digest, Epoch, Generation


class State(StrEnum):
    ERR_APPLIED = "ErrApplied"
    WAIT_APPLIED = "WaitApplied"
    OFFLINE = "Offline"
    MODIFIED = "Modified"
    OUT_OF_SYNC = "OutOfSync"
    WAITING_FOR_DEPENDENCY = "WaitingForDependency"
    WAITING_FOR_WINDOW = "WaitingForWindow"
    PENDING = "Pending"
    NOT_READY = "NotReady"
    READY = "Ready"


DRIFT_STATES = frozenset({"Modified", "Missing", "Orphaned"})

# Worst first: position in this list is the order of every table and of the summed-up state.
WORST_FIRST: tuple[State, ...] = tuple(State)


def rank(state: State) -> int:
    """0 is the worst."""
    return WORST_FIRST.index(state)


def worst(states: list[State]) -> State:
    """The state of something made of many; Ready when it is made of nothing."""
    return min(states, key=rank, default=State.READY)


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One field that is not as Git states it. `wanted` and `live` are JSON, cut for people; ""
    where there is nothing.
    """

    pointer: str
    wanted: str = ""
    live: str = ""


class ResourceStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One object of a release. `state`: Ready, NotReady, Modified, Missing, Orphaned, Unknown.

    One that is both changed and not ready is NotReady and has `differences`: Fleet's order. `owner`
    is the release that has it now, when that is another one.
    """

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    state: str = "Ready"
    message: str = ""
    # the JSON merge patch that would put it right, as Fleet shows it; at most 2 KiB
    patch: str = ""
    differences: list[Difference] = []  # at most 20
    owner: str = ""

    @property
    def drifted(self) -> bool:
        """Whether it is not as Git states it, ready or not."""
        return self.state in DRIFT_STATES or bool(self.differences)


def object_name(resource: ResourceStatus) -> str:
    """An object as Fleet's sentences name it: `deployment.apps shop/web`."""
    name = f"{resource.namespace}/{resource.name}" if resource.namespace else resource.name
    return f"{resource.kind.lower()}.{resource.api_version.partition('/')[0]} {name}"


def sentence(resource: ResourceStatus) -> str:
    """What is wrong with an object, in Fleet's words (`ModifiedStatus.String` and
    `NonReadyStatus.String`), and both values of a field that differs.
    """
    name = object_name(resource)
    if resource.owner:
        return f"{name} is not owned by us: release {resource.owner} has it"
    differences = (
        f"modified: {resource.message}" if resource.differences else f"modified {resource.patch}"
    )
    ends = {"Missing": "missing", "Orphaned": "extra", "Modified": differences}
    return (
        f"{name} {ends[resource.state]}".rstrip()
        if resource.state in ends
        else f"{name}: {resource.message}".rstrip(": ")
    )


class ReleaseRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    namespace: str
    revision: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What an agent says of one (cluster, bundle). At most 64 KiB as JSON; `incomplete_state` when
    cut to fit.
    """

    bundle: BundleName
    epoch: Epoch = Epoch(0)
    generation: Generation  # of the desired document that the agent works on
    applied: Generation = Generation(0)  # last generation that was applied without error
    state: State
    code: str = ""  # stable word for the cause: `helm-failed`, `render-failed`, `dependency`, ...
    message: str = ""  # one line for people, secrets cut: the cause
    object: str = ""  # what it is about, as a person would name it: "deployment.apps shop/web"
    hint: str = ""  # what to do, when the agent knows more than the code says
    ready: bool = False
    non_modified: bool = True
    removed: bool = False  # answers a tombstone: nothing of this bundle is left
    release: ReleaseRef | None = None
    commit: str = ""
    options_digest: Digest = Digest("")
    resources: list[ResourceStatus] = []
    incomplete_state: bool = False
    at: str = ""  # RFC 3339, when the agent last found a difference


def trim(report: Report, limit: int = 64 * 1024) -> Report:
    """Cut the report to `limit` bytes of JSON: resources that are Ready go first."""
    if len(msgspec.json.encode(report)) <= limit:
        return report
    order = sorted(report.resources, key=lambda r: r.state == "Ready")
    trimmed_resources: list[ResourceStatus] = []
    size = 4096
    for resource in order:
        size += len(msgspec.json.encode(resource)) + 1
        if size > limit:
            break
        trimmed_resources.append(resource)
    return msgspec.structs.replace(
        report, resources=trimmed_resources, message=report.message[:1024], incomplete_state=True
    )


def as_json(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")
