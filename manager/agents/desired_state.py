"""The desired-state document of one cluster: made from the rows, signed, and the same bytes again
after a restart.

A document is a function of the rows and of `issued`, which is stored with each change: so a restart
changes no ETag, and serving one writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model import wire
from fleetctl.core.model.errors import FleetError, LoginError, NotEnrolled
from fleetctl.core.model.ids import ClusterId, Epoch, Workspace
from fleetctl.core.model.options import DownstreamResource, Options, downstream_of
from fleetctl.core.model.sealed_layout import context_of
from fleetctl.core.model.wire import Dependency, DesiredBundle, SealedObject, Tombstone
from fleetctl.core.rendering.render import release_of

from ..clock import Clock, rfc3339, unix
from ..security.secret_sealing import Sealer, sources
from ..security.signing import Signer
from ..store.engine import Store
from ..store.queries import cluster_of
from ..store.schema import clusters, deployments
from ..store.schema import options as options_table
from .agent_releases import wish_of
from .presence import Live

_DAY = 86400.0


@dataclass(frozen=True)
class Document:
    """`body` is the envelope's JSON; empty when the caller holds this ETag already."""

    etag: str
    body: bytes


class Documents:
    def __init__(
        self, store: Store, live: Live, signer: Signer, clock: Clock, sealer: Sealer
    ) -> None:
        self._store, self._live, self._signer, self._clock, self._sealer = (
            store,
            live,
            signer,
            clock,
            sealer,
        )
        self._making: dict[ClusterId, asyncio.Task[Document]] = {}
        self.epoch = Epoch(1)

    async def get(self, cluster: ClusterId, held: str = "") -> Document:
        """The document; from memory when nothing has changed. Raises LoginError for a cluster that
        is not enrolled.
        """
        presence = self._live.clusters.get(cluster)
        if presence is None:
            raise NotEnrolled
        if presence.etag and presence.etag == held:
            return Document(presence.etag, b"")
        body = self._live.document(cluster)
        if presence.etag and body is not None:
            return Document(presence.etag, body)
        return await self._made(cluster)

    async def wait(self, cluster: ClusterId, held: str, seconds: float) -> Document:
        """The document as soon as it is another one than `held`, or after `seconds`, or before the
        cluster would count as offline.
        """
        document = await self.get(cluster, held)
        presence = self._live.clusters.get(cluster)
        if document.etag != held or presence is None:
            return document
        news = presence.news
        with contextlib.suppress(TimeoutError), self._live.waits(cluster):
            async with asyncio.timeout(min(seconds, self._live.longest_wait())):
                await news.wait()
        return await self.get(cluster, held)

    async def _made(self, cluster: ClusterId) -> Document:
        """Many who ask at once cost one making."""
        task = self._making.get(cluster)
        if task is None:
            task = self._making[cluster] = asyncio.create_task(self._make(cluster))
            task.add_done_callback(lambda _: self._making.pop(cluster, None))
        return await asyncio.shield(task)

    async def _make(self, cluster: ClusterId) -> Document:
        while True:
            presence = self._live.clusters.get(cluster)
            news = presence.news if presence else None
            desired = await self._store.read(
                lambda connection: load(connection, cluster, self.epoch, self._sealer)
            )
            payload = msgspec.json.encode(desired)
            etag = wire.etag(payload)
            signature = wire.b64(self._signer.sign(wire.desired_bytes(payload)))
            envelope = wire.Envelope(
                key_id=self._signer.key_id, payload=payload.decode(), signature=signature
            )
            body = msgspec.json.encode(envelope)
            if news is None or not news.is_set():  # else it changed while we were reading
                self._live.keep_document(cluster, etag, body)
                return Document(etag, body)

    async def renew(self) -> int:
        """Issue anew what is past half of its life, spread over the clusters; how many."""
        now = self._clock()

        def old(connection: Connection) -> list[ClusterId]:
            rows = connection.execute(
                sa.select(clusters.c.id, clusters.c.issued).where(
                    clusters.c.public_key.is_not(None)
                )
            )
            return [
                r.id
                for r in rows
                if now - unix(r.issued) > wire.DOCUMENT_DAYS / 2 * _DAY + _spread(r.id)
            ]

        def write(connection: Connection) -> None:
            for cluster in ids:
                connection.execute(
                    sa.update(clusters).where(clusters.c.id == cluster).values(issued=rfc3339(now))
                )

        ids = await self._store.read(old)
        if ids:
            await self._store.write(write)
            self._live.changed(ids)
        return len(ids)


def _spread(cluster: ClusterId) -> float:
    """Up to two days, fixed for a cluster."""
    return int(hashlib.sha256(cluster.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF * 2 * _DAY


def load(connection: Connection, cluster: ClusterId, epoch: Epoch, sealer: Sealer) -> wire.Desired:
    """The document's content as the rows and the secrets say. Raises LoginError when the cluster is
    gone.
    """
    row = connection.execute(sa.select(clusters).where(clusters.c.id == cluster)).one_or_none()
    if row is None:
        raise LoginError(
            "this cluster was deleted",
            next_step="Register it again with `fleetctl cluster register NAME`.",
        )
    known = cluster_of(row, Workspace(row.workspace))
    d = deployments.c
    query = sa.select(deployments, options_table.c.json).join(
        options_table, d.options_key == options_table.c.key
    )
    rows = connection.execute(
        query.where(d.cluster_id == cluster, d.generation > 0).order_by(d.bundle)
    ).all()
    issued = max(row.issued, rfc3339(max(r.told for r in rows))) if rows else row.issued
    return wire.Desired(
        workspace=known.workspace,
        cluster_id=cluster,
        cluster=known.name,
        epoch=epoch,
        issued=issued,
        expires=rfc3339(unix(issued) + wire.DOCUMENT_DAYS * _DAY),
        labels=known.labels,
        annotations=known.annotations,
        values=known.values,
        bundles=_bundles(connection, row, rows, sealer, paused=known.paused),
        tombstones=[_tombstone(r) for r in rows if r.removed],
        agent=wish_of(connection, cluster),
    )


def _tombstone(row: Any) -> Tombstone:
    options = msgspec.json.decode(row.json, type=Options)
    try:
        _, namespace = release_of(options, row.bundle)
    except FleetError:  # such a bundle was never installed
        namespace = ""
    return Tombstone(
        name=row.bundle,
        generation=row.generation,
        keep_resources=row.keep_resources,
        service_account=options.service_account or "",
        namespace=namespace,
    )


def _bundles(
    connection: Connection, cluster: Any, rows: Sequence[Any], sealer: Sealer, *, paused: bool
) -> list[DesiredBundle]:
    wanted = {r.bundle: _downstream(r.json) for r in rows if not r.removed}
    every = [one for some in wanted.values() for one in some]
    found = sources(connection, cluster.workspace, every) if every else {}
    made = []
    for row in rows:
        context = [
            context_of(cluster.id, row.bundle, row.generation, one.kind, one.name)
            for one in wanted.get(row.bundle, ())
        ]
        sealed = [
            sealer.seal_object(
                cluster.workspace,
                one,
                found.get((one.kind, one.name)),
                cluster.public_key or b"",
                place,
            )
            for one, place in zip(wanted.get(row.bundle, ()), context, strict=True)
        ]
        if not row.removed:
            made.append(_bundle(row, sealed, paused=paused))
    return made


def _downstream(text: bytes) -> list[DownstreamResource]:
    """Most bundles name none, which costs no decoding."""
    if b'"downstreamResources"' not in text:
        return []
    return downstream_of(msgspec.json.decode(text, type=Options))


def _bundle(row: Any, downstream: list[SealedObject], *, paused: bool) -> DesiredBundle:
    labels, depends_on, bundle_paused = msgspec.json.decode(
        row.shown, type=tuple[dict[str, str], list[Dependency], bool]
    )
    return DesiredBundle(
        name=row.bundle,
        generation=row.generation,
        archive=row.archive,
        size=row.size,
        # the bytes that were hashed, passed through
        options=cast("Options", msgspec.Raw(row.json)),
        options_digest=row.options_digest,
        commit=row.commit,
        repo=row.repo,
        labels=labels,
        depends_on=depends_on,
        correction=row.correction,
        paused=paused or bundle_paused,
        downstream=downstream,
    )
