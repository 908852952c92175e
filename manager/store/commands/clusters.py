"""Writes clusters: registration, enrolment, what agents report of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId

from ..connection import Writer
from ..queries.clusters import CLUSTER_COLUMNS, ClusterRow
from ..schema import clusters
from .documents import mark_documents_changed


class NewCluster(msgspec.Struct, frozen=True):
    """A cluster without an agent."""

    id: ClusterId
    uid: str
    workspace: str
    name: str
    created_at: str
    labels: bytes
    annotations: bytes = b"{}"
    spec: bytes = b"{}"
    generation: int = 1


class Contact(msgspec.Struct, frozen=True):
    """When and from where a cluster was heard last; `last_seen_at` in Unix seconds."""

    cluster: ClusterId
    last_seen_at: float
    address: str


_c = clusters.c
# These statements run for very many clusters: they are built once.
_SET_AGENT = (
    sa.update(clusters)
    .where(_c.id == sa.bindparam("cluster"))
    .values(agent=sa.bindparam("new_agent"))
)
_SET_CONTACT = "UPDATE clusters SET last_seen_at = ?, address = ? WHERE id = ?"


def insert_cluster(writer: Writer, cluster: NewCluster) -> None:
    """Insert a cluster and issue its document."""
    writer.execute(sa.insert(clusters), msgspec.structs.asdict(cluster))
    mark_documents_changed(writer, [cluster.id], cluster.created_at)


def register_again(writer: Writer, cluster: ClusterId, *, labels: bytes, issued: str) -> None:
    """Set the labels of a cluster that gets a new registration; it does not leave any more."""
    values = {"labels": labels, "is_leaving": False}
    writer.execute(sa.update(clusters).where(_c.id == cluster).values(**values))
    mark_documents_changed(writer, [cluster], issued)


def bind_key(
    writer: Writer, cluster: ClusterId, key: bytes, *, now: str, agent: bytes
) -> ClusterRow:
    """Give the cluster the key of its agent. Returns the changed row."""
    values = {"public_key": key, "enrolled_at": now, "agent": agent}
    update = sa.update(clusters).where(_c.id == cluster).values(**values)
    row = ClusterRow(*writer.execute(update.returning(*CLUSTER_COLUMNS)).one())
    mark_documents_changed(writer, [cluster], now)
    return row


def revoke_key(writer: Writer, cluster: ClusterId) -> bool:
    """Whether the cluster had a key."""
    update = sa.update(clusters).where(_c.id == cluster, _c.public_key.is_not(None))
    return writer.execute(update.values(public_key=None)).rowcount > 0


def set_agent(writer: Writer, cluster: ClusterId, agent: bytes) -> None:
    """Store the JSON that the agent reports of itself."""
    writer.execute(_SET_AGENT, {"cluster": cluster, "new_agent": agent})


def set_agents(writer: Writer, agents: Sequence[tuple[bytes, ClusterId]]) -> None:
    """Store the JSON that the agents of these clusters report of themselves."""
    if agents:
        writer.exec_driver_sql("UPDATE clusters SET agent = ? WHERE id = ?", list(agents))


def save_contacts(writer: Writer, contacts: Sequence[Contact]) -> None:
    rows = [(contact.last_seen_at, contact.address, contact.cluster) for contact in contacts]
    if rows:
        writer.exec_driver_sql(_SET_CONTACT, rows)


def start_leaving(writer: Writer, cluster: ClusterId, now: str) -> None:
    """Have the agent told to remove everything."""
    writer.execute(sa.update(clusters).where(_c.id == cluster).values(is_leaving=True))
    mark_documents_changed(writer, [cluster], now)


def delete_cluster(writer: Writer, cluster: ClusterId) -> None:
    """The database removes its registrations with it."""
    writer.execute(sa.delete(clusters).where(_c.id == cluster))


def set_cluster_labels(
    writer: Writer, labels: Mapping[ClusterId, Mapping[str, str]], now: str
) -> None:
    """Replace the labels of clusters; each gets a new generation and a new document."""
    if not labels:
        return
    c = clusters.c
    update = (
        sa.update(clusters)
        .where(c.id == sa.bindparam("i"))
        .values(labels=sa.bindparam("l"), generation=c.generation + 1)
    )
    rows = [{"i": cluster, "l": msgspec.json.encode(new)} for cluster, new in labels.items()]
    writer.execute(update, rows)
    mark_documents_changed(writer, labels.keys(), now)
