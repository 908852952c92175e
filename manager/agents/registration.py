"""Registration and enrolment: which agent key may speak for which cluster.

A registration is bound to the id of its cluster, and the database removes it with that cluster. A
cluster that is created again under the same name has another id, so that no token or key of the
deleted cluster is accepted for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from fleetctl.core.model.errors import Conflict, LoginError
from fleetctl.core.model.ids import ClusterId, Workspace

from ..identifiers import new_cluster_id, new_uid
from ..reconcile.reconcile import reconcile
from ..rollout import staging
from ..store.commands import clusters as cluster_commands
from ..store.commands import tokens as token_commands
from ..store.commands.clusters import NewCluster
from ..store.connection import Reader, Writer
from ..store.queries import Scope
from ..store.queries import clusters as cluster_queries
from ..store.queries import tokens as token_queries
from ..store.queries.clusters import ClusterRow
from ..store.queries.tokens import RegistrationRow

_json = msgspec.json.encode
_REGISTER_STEP = "Get a new one with `fleetctl cluster register NAME`."


@dataclass(frozen=True)
class Enrolment:
    """The row of the enrolled cluster, and the clusters whose documents changed. `repeated`:
    nothing was changed.
    """

    cluster: ClusterRow
    changed_clusters: set[ClusterId] = field(default_factory=set)
    repeated: bool = False


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


@dataclass(frozen=True)
class EnrolmentFacts:
    """The registration of a token, and the existing cluster that the token is for. With a shared
    token that is the cluster with the name that the key gets.
    """

    registration: RegistrationRow | None
    cluster: ClusterRow | None


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


def enrol(writer: Writer, token_hash: bytes, key: bytes, *, now: str, version: str) -> Enrolment:
    """Bind `key` to the cluster of the token. Raises LoginError, which names what is wrong with the
    token.

    The same key and token again get the same answer while the token is valid and the cluster still
    has that key.
    """
    facts = gather_enrolment(writer, token_hash, key)
    action = decide_enrolment(facts, key, now)
    return _commit_enrolment(writer, facts, action, key, now=now, version=version)


def gather_enrolment(reader: Reader, token_hash: bytes, key: bytes) -> EnrolmentFacts:
    registration = token_queries.find_registration(reader, token_hash)
    if registration is None:
        return EnrolmentFacts(None, None)
    if registration.cluster_id is not None:
        cluster = cluster_queries.find_cluster(reader, ClusterId(registration.cluster_id))
    else:
        cluster = cluster_queries.find_cluster_by_name(
            reader, registration.workspace, _name_of(key)
        )
    return EnrolmentFacts(registration, cluster)


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


def _commit_enrolment(
    writer: Writer,
    facts: EnrolmentFacts,
    action: EnrolmentAction,
    key: bytes,
    *,
    now: str,
    version: str,
) -> Enrolment:
    registration, cluster = facts.registration, facts.cluster
    assert registration is not None
    if action is EnrolmentAction.REPEAT:
        assert cluster is not None
        return Enrolment(cluster, repeated=True)
    token_commands.use_registration(writer, registration.hash)
    agent = _json({"version": version})
    changed_clusters: set[ClusterId] = set()
    if cluster is not None:
        identifier = cluster.id
    else:
        labels = msgspec.json.decode(registration.labels)
        claim = EnrolmentClaim(
            registration.workspace, _name_of(key), labels, registration.expires_at, now
        )
        identifier = _create(writer, claim)
        changed_clusters = _reconcile(writer, claim.workspace, identifier, now)
    row = cluster_commands.bind_key(writer, identifier, key, now=now, agent=agent)
    staging.mark_rollouts_of_clusters(writer, row.workspace, [row.id])
    return Enrolment(row, changed_clusters)


def _name_of(key: bytes) -> str:
    """The name of a cluster that a shared token creates."""
    return f"cluster-{hashlib.sha256(key).hexdigest()[:12]}"


def _create(writer: Writer, claim: EnrolmentClaim) -> ClusterId:
    cluster = NewCluster(
        id=new_cluster_id(),
        uid=new_uid(),
        workspace=claim.workspace,
        name=claim.name,
        created_at=claim.now,
        labels=_json(claim.labels),
    )
    cluster_commands.insert_cluster(writer, cluster)
    return cluster.id


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
