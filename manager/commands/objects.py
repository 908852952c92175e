"""Writing and removing objects. Each call is one transaction, and what follows from it is
reconciled in the same one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.documents.convert import Note
from fleetctl.core.formats.labels import check_labels
from fleetctl.core.model.errors import NotFound, RefusedError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace

from ..agents.presence import Live
from ..clock import Clock, rfc3339, until
from ..ingest import moves
from ..reconcile.reconcile import bundles_that_copy, reconcile
from ..revisions import history
from ..rollout import schedules, staging
from ..security import data_keys
from ..security.tokens import hashed
from ..security.vault import Vault
from ..store.commands.pins import delete_pins_of_cluster
from ..store.engine import Store
from ..store.queries import Scope
from ..store.schema import bundles, clusters, deployments, objects, registrations, repos
from ..views.not_found import not_found
from ..views.objects import get_document
from . import validation

_json = msgspec.json.encode


@dataclass(frozen=True)
class Put:
    """`result`: created, configured or unchanged. `token` is the value of a new
    ClusterRegistrationToken, told once. `warnings`: what is risky or without effect, one line each.
    """

    result: str
    object: dict[str, Any]
    token: str | None = None
    warnings: list[str] = field(default_factory=list)
    touched: set[ClusterId] = field(default_factory=set)


class _DryRun(Exception):
    """Carries the answer out of a transaction that must not be kept."""

    def __init__(self, put: Put) -> None:
        super().__init__()
        self.put = put


class Objects:
    """`on_repo` is called with (workspace, name) after a GitRepo was written or removed."""

    def __init__(
        self,
        store: Store,
        live: Live,
        vault: Vault,
        clock: Clock,
        on_repo: Callable[[str, str], None],
    ) -> None:
        self._store, self._live, self._vault, self._clock, self._on_repo = (
            store,
            live,
            vault,
            clock,
            on_repo,
        )

    async def put(
        self, kind: str, workspace: str, name: str, doc: dict[str, Any], *, dry_run: bool = False
    ) -> Put:
        """Create or change. Raises UsageError, RefusedError, NotEnforced."""
        notes: list[Note] = []
        spec = validation.checked(kind, workspace, name, doc, notes)
        meta = validation.metadata(kind, name, doc)
        warnings = [
            *validation.warnings_of(kind, doc),
            *(f"{note.summary}. {note.next_step}" for note in notes),
        ]
        row = {
            "labels": _json(meta.get("labels") or {}),
            "annotations": _json(meta.get("annotations") or {}),
            "spec": _json(spec),
        }

        def write(connection: Connection) -> Put:
            put = self._put(connection, (kind, workspace, name), row, dry_run=dry_run)
            if dry_run:
                raise _DryRun(
                    replace(
                        put,
                        object=get_document(
                            connection, self._live, kind, workspace, name, self._clock()
                        ),
                        warnings=warnings,
                    )
                )
            return put

        try:
            put = await self._store.write(write)
        except _DryRun as done:
            return done.put
        if put.result != "unchanged":
            self._live.changed(put.touched)
            if kind in {"GitRepo", "Secret", "ConfigMap"}:
                self._on_repo(workspace, name if kind == "GitRepo" else "")
        return replace(put, object=await self._shown(kind, workspace, name), warnings=warnings)

    async def _shown(self, kind: str, workspace: str, name: str) -> dict[str, Any]:
        """The object as a person sees it: read after the commit, beside whoever writes next. {}
        when it is gone already.
        """
        now = self._clock()
        try:
            return await self._store.read(
                lambda connection: get_document(connection, self._live, kind, workspace, name, now)
            )
        except NotFound:
            return {}

    def _put(
        self,
        connection: Connection,
        key: tuple[str, str, str],
        row: dict[str, bytes],
        *,
        dry_run: bool,
    ) -> Put:
        """A dry run does not reconcile: that refuses nothing, and costs more than all the rest."""
        kind, workspace, name = key
        old, same = self._old(connection, key, row)
        token, touched = None, set[ClusterId]()
        if old is None:
            token = self._create(connection, key, row)
        elif not same:
            table, where = _where(key)
            values = row if kind not in validation.DATA_KINDS else self._kept(key, row, old)
            connection.execute(
                sa.update(table).where(where).values(**values, generation=table.c.generation + 1)
            )
            if kind == "ClusterRegistrationToken" and row["spec"] != old.spec:
                limits = self._token_values(name, msgspec.json.decode(row["spec"]))
                r = registrations.c
                connection.execute(
                    sa.update(registrations)
                    .where(r.workspace == workspace, r.source == name)
                    .values(**limits)
                )
        if dry_run:
            return Put(
                "created" if old is None else "unchanged" if same else "configured", {}, token
            )
        if not same and kind in {"Cluster", "ClusterGroup", "Schedule", *validation.DATA_KINDS}:
            touched = self._reconciled(connection, kind, workspace, name)
        if (
            old is not None
            and kind == "GitRepo"
            and _is_paused(old.spec) != _is_paused(row["spec"])
        ):
            touched = self._reconcile_repo(connection, workspace, name)
        return Put(
            "created" if old is None else "unchanged" if same else "configured",
            {},
            token,
            touched=touched,
        )

    def _old(
        self, connection: Connection, key: tuple[str, str, str], row: dict[str, bytes]
    ) -> tuple[Any, bool]:
        """The row as it stands, and whether it says the same."""
        table, where = _where(key)
        old = connection.execute(sa.select(table).where(where)).one_or_none()
        if old is None:
            return None, False
        spec = self._content(old.spec, key) if key[0] in validation.DATA_KINDS else old.spec
        have = (old.labels, old.annotations, spec)
        return old, have == (row["labels"], row["annotations"], row["spec"])

    def _kept(self, key: tuple[str, str, str], row: dict[str, bytes], old: Any) -> dict[str, bytes]:
        """The row as it is stored."""
        place, text = "/".join(key), row["spec"]
        if old is not None and self._content(old.spec, key) == text:
            return row | {"spec": old.spec, "extra": old.extra}
        extra = data_keys.summary_of(self._vault, place, msgspec.json.decode(text))
        return row | {"spec": self._vault.seal(text, place), "extra": extra}

    def _content(self, sealed: bytes, key: tuple[str, str, str]) -> bytes | None:
        """None when the secret key does not open it: then a new content replaces it."""
        try:
            return self._vault.unseal(sealed, "/".join(key))
        except RefusedError:
            return None

    def _create(
        self, connection: Connection, key: tuple[str, str, str], row: dict[str, bytes]
    ) -> str | None:
        kind, workspace, name = key
        now = rfc3339(self._clock())
        head = {
            "workspace": workspace,
            "name": name,
            "uid": new_uid(),
            "generation": 1,
            "created": now,
        }
        if kind == "Cluster":
            connection.execute(sa.insert(clusters), {"id": new_cluster_id(), **head, **row})
            return None
        if kind in validation.DATA_KINDS:
            row = self._kept(key, row, None)
        connection.execute(sa.insert(objects), {"kind": kind, **head, "extra": b"{}", **row})
        if kind == "GitRepo":
            connection.execute(
                sa.insert(repos).prefix_with("OR IGNORE"), {"workspace": workspace, "name": name}
            )
        if kind != "ClusterRegistrationToken":
            return None
        return self._registration(connection, workspace, name, msgspec.json.decode(row["spec"]))

    def _registration(
        self, connection: Connection, workspace: str, name: str, spec: dict[str, Any]
    ) -> str:
        """The value of the new token. Only its hash is stored."""
        token = secrets.token_urlsafe(32)
        row = {
            "hash": hashed(token),
            "workspace": workspace,
            "cluster": "",
            "cluster_id": None,
            "source": name,
            "replace": False,
        }
        connection.execute(sa.insert(registrations), {**row, **self._token_values(name, spec)})
        return token

    def _token_values(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        seconds, uses = validation.token_limits(spec, f"ClusterRegistrationToken {name}")
        return {
            "labels": _json(spec.get("labels") or {}),
            "expires": until(self._clock(), seconds),
            "uses": uses,
        }

    def _reconciled(
        self, connection: Connection, kind: str, workspace: str, name: str
    ) -> set[ClusterId]:
        """A cluster's own change concerns it alone; its document changes even when its bundles do
        not.
        """
        now = rfc3339(self._clock())
        if kind == "Schedule":
            schedules.changed(connection, Workspace(workspace))
            return set()
        if kind == "ClusterGroup":
            return reconcile(connection, Scope(Workspace(workspace), wave=True), now=now)
        if kind in validation.DATA_KINDS:
            mine = bundles_that_copy(connection, Workspace(workspace), kind, name)
            return (
                reconcile(connection, Scope(Workspace(workspace), bundles=mine, wave=True), now=now)
                if mine
                else set()
            )
        where = (clusters.c.workspace == workspace) & (clusters.c.name == name)
        found = (
            connection.execute(
                sa.update(clusters).where(where).values(issued=now).returning(clusters.c.id)
            )
            .scalars()
            .all()
        )
        ids = [ClusterId(i) for i in found]
        return reconcile(connection, Scope(Workspace(workspace), clusters=ids), now=now) | set(ids)

    def _reconcile_repo(self, connection: Connection, workspace: str, repo: str) -> set[ClusterId]:
        """Apply a pause or its end to all bundles of a GitRepo at once: no look at Git is
        needed.
        """
        b, space = bundles.c, Workspace(workspace)
        query = sa.select(b.name).where(b.workspace == workspace, b.repo == repo)
        names = {BundleName(name) for name in connection.execute(query).scalars()}
        if not names:
            return set()
        return reconcile(connection, Scope(space, bundles=names), now=rfc3339(self._clock()))

    async def patch_labels(
        self, kind: str, workspace: str, name: str, changes: dict[str, str | None]
    ) -> dict[str, Any]:
        """Set labels, or take away those that are None. Raises NotFound, UsageError."""
        check_labels(changes, f"{kind} {workspace}/{name}")
        if kind in validation.READ_ONLY:
            validation.checked(kind, workspace, name, {})

        def write(connection: Connection) -> set[ClusterId]:
            table, where = _where((kind, workspace, name))
            row = connection.execute(sa.select(table.c.labels).where(where)).one_or_none()
            if row is None:
                raise not_found(connection, kind, workspace, name)
            labels = msgspec.json.decode(row.labels) | changes
            kept = {key: value for key, value in sorted(labels.items()) if value is not None}
            connection.execute(
                sa.update(table)
                .where(where)
                .values(labels=_json(kept), generation=table.c.generation + 1)
            )
            return (
                self._reconciled(connection, kind, workspace, name)
                if kind in {"Cluster", "ClusterGroup"}
                else set()
            )

        self._live.changed(await self._store.write(write))
        return await self._shown(kind, workspace, name)

    async def removal(self, kind: str, workspace: str, name: str) -> dict[str, Any]:
        """What a delete would remove. Raises NotFound."""
        return await self._store.read(lambda connection: removal(connection, kind, workspace, name))

    async def delete(
        self, kind: str, workspace: str, name: str, *, uninstall: bool = False
    ) -> dict[str, Any]:
        """Remove the object; of a GitRepo also its bundles, everywhere. A cluster keeps what runs
        unless `uninstall`.
        """
        if kind in validation.READ_ONLY:
            validation.checked(kind, workspace, name, {})

        def write(connection: Connection) -> tuple[dict[str, Any], set[ClusterId], set[ClusterId]]:
            gone = removal(connection, kind, workspace, name)
            touched = self._delete(connection, kind, workspace, name, uninstall=uninstall)
            return gone, touched, _deleted(connection, touched) if kind == "Cluster" else set()

        gone, touched, deleted = await self._store.write(write)
        for cluster in deleted:
            self._live.forget(cluster)
        self._live.changed(touched)
        if kind == "GitRepo":
            self._on_repo(workspace, name)
        return gone

    def _delete(
        self, connection: Connection, kind: str, workspace: str, name: str, *, uninstall: bool
    ) -> set[ClusterId]:
        now, space = rfc3339(self._clock()), Workspace(workspace)
        table, where = _where((kind, workspace, name))
        if kind == "Cluster":
            return delete_cluster(connection, where, space, now=now, uninstall=uninstall)
        connection.execute(sa.delete(table).where(where))
        if kind == "ClusterRegistrationToken":
            r = registrations.c
            connection.execute(
                sa.delete(registrations).where(r.workspace == workspace, r.source == name)
            )
        if kind == "GitRepo":
            connection.execute(
                sa.delete(repos).where(repos.c.workspace == workspace, repos.c.name == name)
            )
            mine = (bundles.c.workspace == workspace) & (bundles.c.repo == name)
            names = (
                connection.execute(sa.delete(bundles).where(mine).returning(bundles.c.name))
                .scalars()
                .all()
            )
            history.forget(connection, space, names)
            moves.forget(connection, space, names)
            return reconcile(connection, Scope(space, bundles=set(names)), now=now)
        return (
            self._reconciled(connection, kind, workspace, name)
            if kind in {"ClusterGroup", "Schedule", *validation.DATA_KINDS}
            else set()
        )


def _deleted(connection: Connection, ids: set[ClusterId]) -> set[ClusterId]:
    """Those of a few clusters that do not exist any more: their keys are revoked."""
    return ids - set(
        connection.execute(sa.select(clusters.c.id).where(clusters.c.id.in_(ids))).scalars()
    )


def delete_cluster(
    connection: Connection, where: Any, workspace: Workspace, *, now: str, uninstall: bool
) -> set[ClusterId]:
    """Revoke the key at once, or, to uninstall, first tell the agent to remove everything
    (`leaving`).
    """
    row = connection.execute(sa.select(clusters.c.id, clusters.c.public_key).where(where)).one()
    cluster = ClusterId(row.id)
    if uninstall and row.public_key:
        connection.execute(sa.update(clusters).where(where).values(leaving=True, issued=now))
        reconcile(connection, Scope(workspace, clusters=[cluster]), now=now)
        left = connection.execute(
            sa.select(deployments.c.bundle).where(deployments.c.cluster_id == cluster)
        ).first()
        if left:
            return {cluster}
    where_mine = deployments.c.cluster_id == cluster
    mine = (
        connection.execute(sa.delete(deployments).where(where_mine).returning(deployments.c.bundle))
        .scalars()
        .all()
    )
    staging.touch(connection, workspace, mine, staging.ANEW)
    delete_pins_of_cluster(connection, cluster)
    connection.execute(sa.delete(clusters).where(clusters.c.id == cluster))
    return {cluster}


def removal(connection: Connection, kind: str, workspace: str, name: str) -> dict[str, Any]:
    """Names of the bundles, the number of deployments and the clusters that would lose
    something.
    """
    table, where = _where((kind, workspace, name))
    if connection.execute(sa.select(sa.literal(1)).select_from(table).where(where)).first() is None:
        raise not_found(connection, kind, workspace, name)
    d = deployments.c
    query = (
        sa.select(d.bundle, clusters.c.name)
        .join(clusters, clusters.c.id == d.cluster_id)
        .where(d.workspace == workspace, ~d.removed)
    )
    if kind == "GitRepo":
        rows = connection.execute(query.where(d.repo == name)).all()
        mine = bundles.c.workspace == workspace
        names = set(
            connection.execute(
                sa.select(bundles.c.name).where(mine, bundles.c.repo == name)
            ).scalars()
        )
    elif kind == "Cluster":
        rows = connection.execute(query.where(clusters.c.name == name)).all()
        names = {row.bundle for row in rows}
    else:
        return {"bundles": [], "deployments": 0, "clusters": []}
    return {
        "bundles": sorted(names),
        "deployments": len(rows),
        "clusters": sorted({row.name for row in rows}),
    }


def _where(key: tuple[str, str, str]) -> tuple[sa.Table, Any]:
    kind, workspace, name = key
    table = {"Cluster": clusters, "Bundle": bundles}.get(kind, objects)
    where = (table.c.workspace == workspace) & (table.c.name == name)
    return table, where & (objects.c.kind == kind) if table is objects else where


def _is_paused(spec: bytes) -> bool:
    return bool(msgspec.json.decode(spec).get("paused"))


def new_uid() -> str:
    text = secrets.token_hex(16)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_cluster_id() -> ClusterId:
    return ClusterId(f"c-{secrets.token_hex(10)}")
