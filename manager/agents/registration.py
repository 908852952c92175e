"""Registration and enrolment: which agent key may speak for which cluster.

A registration is bound to the id of its cluster, and the database removes it with that cluster. A
cluster that is created again under the same name has another id, so that no token or key of the
deleted cluster is accepted for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import msgspec

from fleetctl.core.model.errors import Conflict, LoginError
from fleetctl.core.model.ids import ClusterId, Workspace

from ..identifiers import new_cluster_id, new_uid
from ..reconcile.reconcile import reconcile
from ..rollout import staging
from ..store.commands import clusters as cluster_commands
from ..store.commands import tokens as token_commands
from ..store.commands.clusters import NewCluster
from ..store.connection import Writer
from ..store.queries import Scope
from ..store.queries import clusters as cluster_queries
from ..store.queries.clusters import ClusterRow
from ..store.queries.tokens import RegistrationRow

_json = msgspec.json.encode
_REGISTER_STEP = "Get a new one with `fleetctl cluster register NAME`."


@dataclass(frozen=True)
class EnrolmentClaim:
    """Which cluster a registration is for. `expires` and `now` are RFC 3339 times."""

    workspace: str
    name: str
    labels: dict[str, str]
    expires: str
    now: str


class EnrolmentAction(Enum):
    """What one enrolment changes."""

    REPEAT = "repeat"  # the cluster has this key already
    BIND = "bind"  # an existing cluster gets the key
    CREATE = "create"  # a new cluster gets the key


class KeyedCluster(Protocol):
    """A cluster and the public key of its agent."""

    @property
    def id(self) -> ClusterId: ...
    @property
    def name(self) -> str: ...
    @property
    def workspace(self) -> str: ...
    @property
    def public_key(self) -> bytes | None: ...


@dataclass(frozen=True)
class EnrolmentFacts:
    """The registration of a token, and the existing cluster that the token is for. With a shared
    token that is the cluster with the name that the key gets.
    """

    registration: RegistrationRow | None
    cluster: KeyedCluster | None


def register(
    writer: Writer, token_hash: bytes, claim: EnrolmentClaim, *, replace: bool
) -> tuple[set[ClusterId], set[ClusterId]]:
    """Store the hash of a token that enrols one agent. Returns the changed clusters and those whose
    key was revoked.

    Removes earlier registrations of the cluster. Raises Conflict when it is enrolled and `replace`
    is not set.
    """
    existing = cluster_queries.find_cluster_by_name(writer, claim.workspace, claim.name)
    if existing is not None and existing.public_key and not replace:
        raise _conflict_error(claim)
    cluster = _create(writer, claim) if existing is None else _update(writer, existing, claim)
    token_commands.delete_registrations_of_cluster(writer, cluster, now=claim.now)
    registration = RegistrationRow(
        hash=token_hash,
        workspace=claim.workspace,
        cluster=claim.name,
        cluster_id=cluster,
        source="",
        labels=b"{}",
        expires_at=claim.expires,
        remaining_uses=1,
        replace=replace,
    )
    token_commands.insert_registration(writer, registration)
    revoked_clusters = _revoke(writer, claim.workspace, cluster)
    return _reconcile(writer, claim.workspace, cluster, claim.now), revoked_clusters


def _conflict_error(claim: EnrolmentClaim) -> Conflict:
    step = (
        f"Use another name, or `fleetctl cluster register {claim.name} --replace` to give it to"
        " another agent."
    )
    subject = f"cluster {claim.workspace}/{claim.name}"
    return Conflict(f"cluster {claim.name} is enrolled already", subject=subject, next_step=step)


def decide_enrolment(facts: EnrolmentFacts, key: bytes, now: str) -> EnrolmentAction:
    """Raises LoginError when the token does not allow this key."""
    registration, cluster = facts.registration, facts.cluster
    if registration is None:
        raise LoginError("the registration token is wrong", next_step=_REGISTER_STEP)
    if registration.expires_at <= now:
        raise LoginError(
            f"the registration token expired at {registration.expires_at}", next_step=_REGISTER_STEP
        )
    if cluster is not None and cluster.public_key == key:
        return EnrolmentAction.REPEAT
    if cluster is not None and registration.cluster_id is None:
        # The key was revoked by `register --replace`, or a person created the cluster: a shared
        # token does not decide that.
        step = f"Enrol with a token of `fleetctl cluster register {cluster.name} --replace`."
        raise LoginError(
            f"cluster {cluster.name} exists and does not have this key", next_step=step
        )
    if registration.remaining_uses < 1:
        raise LoginError("the registration token is used up", next_step=_REGISTER_STEP)
    return EnrolmentAction.CREATE if cluster is None else EnrolmentAction.BIND


def name_of_key(key: bytes) -> str:
    """The name of a cluster that a shared token creates."""
    return f"cluster-{hashlib.sha256(key).hexdigest()[:12]}"


def _create(writer: Writer, claim: EnrolmentClaim) -> ClusterId:
    cluster = new_cluster(claim.workspace, claim.name, _json(claim.labels), claim.now)
    cluster_commands.insert_clusters(writer, [cluster])
    return cluster.id


def new_cluster(workspace: str, name: str, labels: bytes, now: str) -> NewCluster:
    """A cluster with a new id. `labels`: JSON; `now` RFC 3339."""
    return NewCluster(
        id=new_cluster_id(),
        uid=new_uid(),
        workspace=workspace,
        name=name,
        created_at=now,
        labels=labels,
    )


def _update(writer: Writer, existing: ClusterRow, claim: EnrolmentClaim) -> ClusterId:
    labels = _json(msgspec.json.decode(existing.labels) | claim.labels)
    cluster_commands.register_again(writer, existing.id, labels=labels, issued=claim.now)
    return existing.id


def _reconcile(writer: Writer, workspace: str, cluster: ClusterId, now: str) -> set[ClusterId]:
    scope = Scope(Workspace(workspace), clusters=[cluster])
    return reconcile(writer, scope, now=now) | {cluster}


def _revoke(writer: Writer, workspace: str, cluster: ClusterId) -> set[ClusterId]:
    """Remove the key of the cluster. Empty when it has none."""
    if not cluster_commands.revoke_key(writer, cluster):
        return set()
    staging.mark_rollouts_of_clusters(writer, workspace, [cluster])
    return {cluster}
