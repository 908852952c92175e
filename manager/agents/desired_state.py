"""Builds and signs the desired-state document of each cluster.

A document is a function of the rows, and its ETag of the epoch and the revision that the store
keeps: so a restart changes no ETag, an unchanged check-in builds no document, and serving one
writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from fleetctl.core.model import wire
from fleetctl.core.model.errors import FleetError, LoginError, NotEnrolled
from fleetctl.core.model.ids import ClusterId, Epoch, Workspace
from fleetctl.core.model.options import DownstreamResource, Options, downstream_of
from fleetctl.core.model.sealed_layout import context_of
from fleetctl.core.model.wire import Dependency, DesiredBundle, SealedObject, Tombstone
from fleetctl.core.rendering.render import release_of

from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..security.secret_sealing import Sealer, sources
from ..security.signing import Signer
from ..store.commands.documents import mark_documents_changed
from ..store.connection import Reader, Writer
from ..store.engine import Store
from ..store.queries import cluster_of
from ..store.queries import clusters as cluster_queries
from ..store.queries.agents.documents import count_documents, documents_issued_before, find_document
from ..store.queries.clusters import ClusterRow
from ..store.queries.deployments import DesiredRow, desired_rows
from .agent_upgrades import agent_target

_DAY = 86400.0
# Renewals are spread: each call renews at most this part of all documents, or this many.
_RENEWED_PART, _LEAST_RENEWED = 24, 1000
_RENEWED_AT_ONCE = 5000  # documents that one transaction renews


@dataclass(frozen=True)
class SignedDocument:
    """`body` is the envelope's JSON; empty when the caller has the document with this ETag."""

    etag: str
    body: bytes


class DesiredState:
    """Serves the documents. One build answers all requests for a cluster that arrive meanwhile."""

    def __init__(
        self, store: Store, live: PresenceTable, signer: Signer, clock: Clock, sealer: Sealer
    ) -> None:
        self._store, self._live, self._signer = store, live, signer
        self._clock, self._sealer = clock, sealer
        self._builds: dict[ClusterId, asyncio.Task[SignedDocument]] = {}
        self.epoch = Epoch(1)

    async def get(self, cluster: ClusterId, etag: str = "") -> SignedDocument:
        """The document, from memory when nothing changed. `etag`: that of the caller's document.
        Raises LoginError for a cluster that is not enrolled.
        """
        revision = await self._revision(cluster)
        current_etag = wire.document_etag(self.epoch, revision)
        if current_etag == etag:
            return SignedDocument(current_etag, b"")
        body = self._live.document(cluster, revision)
        if body is not None:
            return SignedDocument(current_etag, body)
        return await self._build_once(cluster)

    async def _revision(self, cluster: ClusterId) -> int:
        """The revision of the document; read from the store when it may have changed."""
        while True:
            presence = self._live.clusters.get(cluster)
            if presence is None:
                raise NotEnrolled
            if presence.revision:
                return presence.revision
            changes = presence.changes
            version = await self._store.read(lambda reader: find_document(reader, cluster))
            if version is None:
                raise _deleted_error()
            if presence.changes == changes:  # else it changed during the read
                presence.revision = version.revision
                return version.revision

    async def wait(self, cluster: ClusterId, etag: str, seconds: float) -> SignedDocument:
        """The document as soon as it differs from the caller's, or after `seconds`, or before the
        cluster would count as offline.
        """
        document = await self.get(cluster, etag)
        presence = self._live.clusters.get(cluster)
        if document.etag != etag or presence is None:
            return document
        news = presence.news
        with contextlib.suppress(TimeoutError), self._live.waits(cluster):
            async with asyncio.timeout(min(seconds, self._live.longest_wait())):
                await news.wait()
        return await self.get(cluster, etag)

    async def _build_once(self, cluster: ClusterId) -> SignedDocument:
        task = self._builds.get(cluster)
        if task is None:
            task = self._builds[cluster] = asyncio.create_task(self._build(cluster))
            task.add_done_callback(lambda _: self._builds.pop(cluster, None))
        return await asyncio.shield(task)

    async def _build(self, cluster: ClusterId) -> SignedDocument:
        content = await self._store.read(
            lambda reader: load(reader, cluster, self.epoch, self._sealer)
        )
        document = self._sign(content)
        self._live.keep_document(cluster, content.revision, document.body)
        return document

    def _sign(self, content: wire.Desired) -> SignedDocument:
        payload = msgspec.json.encode(content)
        signature = wire.b64(self._signer.sign(wire.desired_bytes(payload)))
        envelope = wire.Envelope(
            key_id=self._signer.key_id, payload=payload.decode(), signature=signature
        )
        etag = wire.document_etag(content.epoch, content.revision)
        return SignedDocument(etag, msgspec.json.encode(envelope))

    async def renew(self) -> int:
        """Issue documents again that are past half of their lifetime, the oldest first. Returns how
        many.
        """
        now = self._clock()
        before = int(now - wire.DOCUMENT_DAYS / 2 * _DAY)
        document_count = await self._store.read(count_documents)
        most, renewed = max(_LEAST_RENEWED, document_count // _RENEWED_PART), 0
        while renewed < most:
            limit = min(_RENEWED_AT_ONCE, most - renewed)
            ids = await self._store.write(
                lambda writer, limit=limit: _renew(writer, before, limit, now)  # type: ignore[misc]
            )
            if not ids:
                break
            self._live.mark_changed(ids)
            renewed += len(ids)
        return renewed


def _renew(writer: Writer, before: int, limit: int, now: float) -> set[ClusterId]:
    ids = documents_issued_before(writer, before, limit)
    return mark_documents_changed(writer, ids, rfc3339(now))


def _deleted_error() -> LoginError:
    return LoginError(
        "this cluster was deleted",
        next_step="Register it again with `fleetctl cluster register NAME`.",
    )


def load(reader: Reader, cluster: ClusterId, epoch: Epoch, sealer: Sealer) -> wire.Desired:
    """The content of the document. Raises LoginError when the cluster was deleted."""
    row = cluster_queries.find_cluster(reader, cluster)
    version = find_document(reader, cluster)
    if row is None or version is None:
        raise _deleted_error()
    facts = cluster_of(row, Workspace(row.workspace))
    rows = desired_rows(reader, cluster)
    issued_at = max([version.issued_at, *(row.sent_at for row in rows)])
    return wire.Desired(
        workspace=facts.workspace,
        cluster_id=cluster,
        cluster=facts.name,
        epoch=epoch,
        issued=rfc3339(issued_at),
        expires=rfc3339(issued_at + wire.DOCUMENT_DAYS * _DAY),
        labels=facts.labels,
        annotations=facts.annotations,
        values=facts.values,
        bundles=_bundles(reader, row, rows, sealer, is_paused=facts.paused),
        tombstones=[_tombstone(r) for r in rows if r.is_removed],
        agent=agent_target(reader, cluster),
        revision=version.revision,
    )


def _tombstone(row: DesiredRow) -> Tombstone:
    options = msgspec.json.decode(row.options, type=Options)
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
    reader: Reader,
    cluster: ClusterRow,
    rows: Sequence[DesiredRow],
    sealer: Sealer,
    *,
    is_paused: bool,
) -> list[DesiredBundle]:
    present = [row for row in rows if not row.is_removed]
    resources = {row.bundle: _downstream_resources(row.options) for row in present}
    every_resource = [
        resource for resource_list in resources.values() for resource in resource_list
    ]
    contents = sources(reader, cluster.workspace, every_resource) if every_resource else {}
    bundles = []
    for row in present:
        sealed_objects = [
            sealer.seal_object(
                cluster.workspace,
                resource,
                contents.get((resource.kind, resource.name)),
                cluster.public_key or b"",
                context_of(cluster.id, row.bundle, row.generation, resource.kind, resource.name),
            )
            for resource in resources[row.bundle]
        ]
        bundles.append(_bundle(row, sealed_objects, is_paused=is_paused))
    return bundles


def _downstream_resources(options: bytes) -> list[DownstreamResource]:
    """Most bundles name none, and then nothing is decoded."""
    if b'"downstreamResources"' not in options:
        return []
    return downstream_of(msgspec.json.decode(options, type=Options))


def _bundle(row: DesiredRow, downstream: list[SealedObject], *, is_paused: bool) -> DesiredBundle:
    labels, depends_on, bundle_paused = msgspec.json.decode(
        row.bundle_facts, type=tuple[dict[str, str], list[Dependency], bool]
    )
    return DesiredBundle(
        name=row.bundle,
        generation=row.generation,
        archive=row.archive,
        size=row.size,
        # the bytes that were hashed, passed through
        options=cast("Options", msgspec.Raw(row.options)),
        options_digest=row.options_digest,
        commit=row.commit,
        repo=row.repo,
        labels=labels,
        depends_on=depends_on,
        correction=row.correction,
        paused=is_paused or bundle_paused,
        downstream=downstream,
    )
