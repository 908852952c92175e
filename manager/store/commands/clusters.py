"""Writes clusters: registration, enrolment, what agents report of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.ids import ClusterId

from ..bulk import run_many
from ..connection import Writer
from ..schema import cluster_contacts, clusters
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


class NewKey(msgspec.Struct, frozen=True):
    """The public key that a cluster's agent gets at `now` (RFC 3339), and the JSON that the agent
    reports of itself.
    """

    key: bytes
    now: str
    agent: bytes
    cluster: ClusterId


class Contact(msgspec.Struct, frozen=True):
    """When and from where a cluster was heard last; `last_seen_at` in Unix seconds. `reporter`,
    `report_seq`: the instance whose full report is stored, and the number of its last report.
    """

    cluster: ClusterId
    last_seen_at: float
    address: str
    reporter: str = ""
    report_seq: int = 0


_c = clusters.c
# These statements run for very many clusters: they are built once.
_SET_AGENT = (
    sa.update(clusters)
    .where(_c.id == sa.bindparam("cluster"))
    .values(agent=sa.bindparam("new_agent"))
)
_INSERT = sa.insert(clusters)
# The column defaults of SQLAlchemy, which `run_many` does not apply.
_INSERT_DEFAULTS = {
    column.name: column.default.arg
    for column in clusters.columns
    if isinstance(column.default, sa.ColumnDefault)
}
# The parameters are the fields of NewKey, in their order.
_BIND_KEY = "UPDATE clusters SET public_key = ?, enrolled_at = ?, agent = ? WHERE id = ?"
_FORGET_REPORTER = "UPDATE cluster_contacts SET reporter = '', report_seq = 0 WHERE cluster_id = ?"
_SET_CONTACT = (
    "UPDATE cluster_contacts SET last_seen_at = ?, address = ?, reporter = ?, report_seq = ?"
    " WHERE cluster_id = ?"
)


def insert_clusters(writer: Writer, new_clusters: Sequence[NewCluster]) -> None:
    """Insert clusters and issue their documents."""
    if not new_clusters:
        return
    run_many(writer, _INSERT, [_INSERT_DEFAULTS | msgspec.structs.asdict(c) for c in new_clusters])
    _issue(writer, [(cluster.id, cluster.created_at) for cluster in new_clusters])


def register_again(writer: Writer, cluster: ClusterId, *, labels: bytes, issued: str) -> None:
    """Set the labels of a cluster that gets a new registration; it does not leave any more."""
    values = {"labels": labels, "is_leaving": False}
    writer.execute(sa.update(clusters).where(_c.id == cluster).values(**values))
    mark_documents_changed(writer, [cluster], issued)


def bind_keys(writer: Writer, keys: Sequence[NewKey]) -> None:
    """Give clusters the keys of their agents."""
    if not keys:
        return
    writer.exec_driver_sql(_BIND_KEY, [msgspec.structs.astuple(key) for key in keys])
    writer.exec_driver_sql(_FORGET_REPORTER, [(key.cluster,) for key in keys])
    _issue(writer, [(key.cluster, key.now) for key in keys])


def _issue(writer: Writer, times: Iterable[tuple[ClusterId, str]]) -> None:
    """Issue the documents of clusters at these times."""
    by_time: dict[str, list[ClusterId]] = {}
    for cluster, time in times:
        by_time.setdefault(time, []).append(cluster)
    for time, ids in by_time.items():
        mark_documents_changed(writer, ids, time)


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
    """Store the contacts, in the order of the table's pages."""
    rows = [
        (
            contact.last_seen_at,
            contact.address,
            contact.reporter,
            contact.report_seq,
            contact.cluster,
        )
        for contact in sorted(contacts, key=lambda contact: contact.cluster)
    ]
    if rows:
        writer.exec_driver_sql(_SET_CONTACT, rows)


def forget_reporters(writer: Writer) -> None:
    """No report of any agent is stored any more: each must send a full one."""
    writer.execute(sa.update(cluster_contacts).values(reporter="", report_seq=0))


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
