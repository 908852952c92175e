"""Registration and enrolment: which agent key may speak for which cluster.

A registration is bound to the id of its cluster, and the database removes it with that cluster. A
cluster that is created again under the same name has another id, so that no token or key of the
deleted cluster is accepted for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model.errors import Conflict, LoginError
from fleetctl.core.model.ids import ClusterId, Workspace

from ..commands.objects import new_cluster_id, new_uid
from ..reconcile.reconcile import reconcile
from ..rollout import staging
from ..store.queries import Scope
from ..store.schema import clusters, registrations

_json = msgspec.json.encode


@dataclass(frozen=True)
class Enrolment:
    """The row of the enrolled cluster, and the clusters whose documents changed. `repeated`:
    nothing was changed.
    """

    cluster: Any
    touched: set[ClusterId] = field(default_factory=set)
    repeated: bool = False


@dataclass(frozen=True)
class Claim:
    """Which cluster a registration is for. `expires` and `now` are RFC 3339 times."""

    workspace: str
    name: str
    labels: dict[str, str]
    expires: str
    now: str


def register(
    connection: Connection, token: bytes, claim: Claim, *, replace: bool
) -> tuple[set[ClusterId], set[ClusterId]]:
    """Store a token (its hash) that enrols one agent. Returns the changed clusters and those whose
    key was revoked.

    Earlier registrations of the cluster are removed. Raises Conflict when it is enrolled and
    `replace` is not set.
    """
    r = registrations.c
    old = connection.execute(_by_name(claim.workspace, claim.name)).one_or_none()
    if old is not None and old.public_key and not replace:
        step = (
            f"Use another name, or `fleetctl cluster register {claim.name} --replace` to give it to"
            " another agent."
        )
        subject = f"cluster {claim.workspace}/{claim.name}"
        raise Conflict(f"cluster {claim.name} is enrolled already", subject=subject, next_step=step)
    cluster = _create(connection, claim) if old is None else _update(connection, old, claim)
    connection.execute(
        sa.delete(registrations).where((r.expires <= claim.now) | (r.cluster_id == cluster))
    )
    row = {
        "hash": token,
        "workspace": claim.workspace,
        "cluster": claim.name,
        "cluster_id": cluster,
        "source": "",
    }
    rest = {"labels": b"{}", "expires": claim.expires, "uses": 1, "replace": replace}
    connection.execute(sa.insert(registrations), {**row, **rest})
    revoked = _revoke(connection, cluster)
    return _reconcile(connection, claim.workspace, cluster, claim.now), revoked


def enrol(connection: Connection, token: bytes, key: bytes, *, now: str, version: str) -> Enrolment:
    """Bind `key` to the cluster of the token. Raises LoginError, which names what is wrong with the
    token.

    The same key and token again get the same answer while the token is valid and the cluster still
    has that key.
    """
    registration = connection.execute(
        sa.select(registrations).where(registrations.c.hash == token)
    ).one_or_none()
    step = "Get a new one with `fleetctl cluster register NAME`."
    if registration is None:
        raise LoginError("the registration token is wrong", next_step=step)
    if registration.expires <= now:
        raise LoginError(
            f"the registration token expired at {registration.expires}", next_step=step
        )
    cluster = _target(connection, registration, key)
    if cluster is not None and cluster.public_key == key:
        return Enrolment(cluster, repeated=True)
    if registration.uses < 1:
        raise LoginError("the registration token is used up", next_step=step)
    connection.execute(
        sa.update(registrations)
        .where(registrations.c.hash == token)
        .values(uses=registrations.c.uses - 1)
    )
    if registration.cluster_id is None:
        return _enrol_new(connection, registration, key, now=now, version=version)
    return Enrolment(_bind(connection, registration.cluster_id, key, now=now, version=version))


def _target(connection: Connection, registration: Any, key: bytes) -> Any:
    """The existing cluster that the token and key are for, or None when a shared token creates
    it.
    """
    if registration.cluster_id is not None:
        return connection.execute(
            sa.select(clusters).where(clusters.c.id == registration.cluster_id)
        ).one()
    name = _name_of(key)
    cluster = connection.execute(_by_name(registration.workspace, name)).one_or_none()
    if cluster is not None and cluster.public_key != key:
        # The key was revoked by `register --replace`, or a person created the cluster: a shared
        # token does not decide that.
        step = f"Enrol with a token of `fleetctl cluster register {name} --replace`."
        raise LoginError(f"cluster {name} exists and does not have this key", next_step=step)
    return cluster


def _enrol_new(
    connection: Connection, registration: Any, key: bytes, *, now: str, version: str
) -> Enrolment:
    labels = msgspec.json.decode(registration.labels)
    claim = Claim(registration.workspace, _name_of(key), labels, registration.expires, now)
    identifier = _create(connection, claim)
    touched = _reconcile(connection, claim.workspace, identifier, now)
    return Enrolment(_bind(connection, identifier, key, now=now, version=version), touched)


def _name_of(key: bytes) -> str:
    """The name of a cluster that a shared token creates."""
    return f"cluster-{hashlib.sha256(key).hexdigest()[:12]}"


def _bind(connection: Connection, cluster: str, key: bytes, *, now: str, version: str) -> Any:
    values = {
        "public_key": key,
        "enrolled": now,
        "issued": now,
        "agent": _json({"version": version}),
    }
    update = sa.update(clusters).where(clusters.c.id == cluster).values(**values)
    row = connection.execute(update.returning(clusters)).one()
    staging.touch_clusters(connection, row.workspace, [row.id])
    return row


def _by_name(workspace: str, name: str) -> Any:
    return sa.select(clusters).where(clusters.c.workspace == workspace, clusters.c.name == name)


def _create(connection: Connection, claim: Claim) -> ClusterId:
    identifier = new_cluster_id()
    row = {
        "id": identifier,
        "uid": new_uid(),
        "workspace": claim.workspace,
        "name": claim.name,
        "generation": 1,
    }
    row |= {"created": claim.now, "issued": claim.now, "labels": _json(claim.labels)}
    connection.execute(sa.insert(clusters), row | {"annotations": b"{}", "spec": b"{}"})
    return identifier


def _update(connection: Connection, old: Any, claim: Claim) -> ClusterId:
    labels = _json(msgspec.json.decode(old.labels) | claim.labels)
    values = {"labels": labels, "leaving": False, "issued": claim.now}
    connection.execute(sa.update(clusters).where(clusters.c.id == old.id).values(**values))
    return ClusterId(old.id)


def _reconcile(
    connection: Connection, workspace: str, cluster: ClusterId, now: str
) -> set[ClusterId]:
    return reconcile(connection, Scope(Workspace(workspace), clusters=[cluster]), now=now) | {
        cluster
    }


def _revoke(connection: Connection, cluster: ClusterId) -> set[ClusterId]:
    """Remove the key of the cluster. Empty when it has none."""
    where = (clusters.c.id == cluster) & clusters.c.public_key.is_not(None)
    update = sa.update(clusters).where(where).values(public_key=None)
    row = connection.execute(update.returning(clusters.c.workspace)).one_or_none()
    if row is None:
        return set()
    staging.touch_clusters(connection, row.workspace, [cluster])
    return {cluster}
