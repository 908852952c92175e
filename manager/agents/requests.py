"""The manager's side of its agents: registration, enrolment, and what they report."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.model import wire
from fleetctl.core.model.errors import (
    LoginError,
    NotEnrolled,
    NotFound,
    SendAll,
    UsageError,
)
from fleetctl.core.model.ids import ClusterId, ClusterName, Digest, Epoch, Workspace

from ..clock import rfc3339, until
from ..commands import validation
from ..ingest.archive_rebuild import Restorer
from ..security.signing import Signer, verify
from ..security.tokens import hashed
from ..store.engine import Store
from ..store.schema import clusters, deployments
from . import registration
from .agent_releases import may_fetch, take_upgrade
from .desired_state import Documents
from .presence import Live, Presence
from .report_limits import MOST_BUNDLES
from .status_reports import left_for_good, take_agent, take_reports, unmentioned

_json = msgspec.json.encode


@dataclass(frozen=True)
class Registration:
    token: str
    expires: str


class Fleet:
    def __init__(
        self, store: Store, live: Live, documents: Documents, restorer: Restorer, signer: Signer
    ) -> None:
        self._store, self._live, self._documents, self._restorer, self._signer = (
            store,
            live,
            documents,
            restorer,
            signer,
        )

    async def load(self) -> None:
        c = clusters.c
        query = sa.select(c.id, c.public_key, c.seen, c.address, c.agent).where(
            c.public_key.is_not(None)
        )
        for row in await self._store.read(lambda connection: connection.execute(query).all()):
            twin = msgspec.json.decode(row.agent).get("twin", "") if b'"twin"' in row.agent else ""
            self._live.load(row, twin)

    async def mark_twin(self, cluster: ClusterId, twin: str) -> None:
        """Two agents have one key: so it stays, over restarts of ours too, until the cluster is
        enrolled anew.
        """
        where = clusters.c.id == cluster

        def write(connection: Connection) -> None:
            agent = msgspec.json.decode(
                connection.execute(sa.select(clusters.c.agent).where(where)).scalar() or b"{}"
            )
            connection.execute(
                sa.update(clusters).where(where).values(agent=_json(agent | {"twin": twin}))
            )

        await self._store.write(write)

    async def register(
        self,
        workspace: str,
        name: str,
        *,
        labels: dict[str, str],
        ttl: int,
        replace: bool,
        now: float,
    ) -> Registration:
        """A token that lets one agent enrol as `name`. Raises Conflict when the name is enrolled
        and `replace` is not said.
        """
        validation.checked("Cluster", workspace, name, _bare_cluster(workspace, name, labels))
        token, expires = secrets.token_urlsafe(32), until(now, ttl)
        claim = registration.Claim(workspace, name, labels, expires, rfc3339(now))
        touched, revoked = await self._store.write(
            lambda c: registration.register(c, hashed(token), claim, replace=replace)
        )
        for cluster in revoked:
            self._live.forget(cluster)
        self._live.changed(touched)
        return Registration(token, expires)

    async def enrol(
        self, request: wire.EnrolRequest, *, address: str, now: float
    ) -> wire.EnrolAnswer:
        """Bind the key to the token's cluster; `enrolment.enrol` has the rules. Raises
        LoginError.
        """
        key = _proven(request)
        token, version = hashed(request.token), request.agent_version
        enrolled = await self._store.write(
            lambda c: registration.enrol(c, token, key, now=rfc3339(now), version=version)
        )
        cluster, identifier = enrolled.cluster, ClusterId(enrolled.cluster.id)
        if not enrolled.repeated or identifier not in self._live.clusters:
            self._live.enrolled(identifier, key, now, address)
        self._live.changed(enrolled.touched | {identifier})
        public = wire.VerifyKey(
            id=self._signer.key_id, public_key=wire.b64(self._signer.public_key)
        )
        return wire.EnrolAnswer(
            cluster_id=ClusterId(cluster.id),
            cluster=ClusterName(cluster.name),
            workspace=Workspace(cluster.workspace),
            epoch=self._documents.epoch,
            keys=[public],
            poll_seconds=self._live.poll_seconds(),
        )

    async def archive_path(self, cluster: ClusterId, digest: Digest) -> Path:
        """The file, when `digest` is in the cluster's own document. Raises NotFound,
        UnavailableError while it is built again.
        """
        d = deployments.c
        query = (
            sa.select(d.bundle)
            .where(d.cluster_id == cluster, d.archive == digest, d.generation > 0, ~d.removed)
            .limit(1)
        )
        if not await self._store.read(
            lambda c: c.execute(query).first() is not None or may_fetch(c, cluster, digest)
        ):
            raise NotFound(
                "no such archive for this cluster", next_step="Fetch the desired state again."
            )
        return await self._restorer.path(digest)

    async def report(self, cluster: ClusterId, request: wire.StatusRequest, *, now: float) -> None:
        """Take what an agent says. Raises Conflict (`send-all`) when something before it was
        missed.
        """
        presence = self._live.clusters.get(cluster)
        if presence is None:
            raise NotEnrolled
        if request.instance == presence.speaker and request.seq <= presence.seq:
            return  # a newer one of the same agent was quicker (I8)
        epoch = self._documents.epoch
        presence.speaker, presence.seq = request.instance, request.seq
        if request.full:
            _follow_pages(presence, request, epoch)
        lacking = not request.full and presence.reporter != request.instance
        last = request.full and request.page >= request.pages

        def write(connection: Connection) -> tuple[bool, bool, set[ClusterId]]:
            take_agent(connection, cluster, request)
            turn = take_upgrade(connection, cluster, request.upgrade, rfc3339(now))
            if lacking:
                return False, False, turn
            told = [report for report in request.deployments if report.epoch in {0, epoch}]
            if last:
                unmentioned(connection, cluster, presence.mentioned, int(now))
            gone = take_reports(connection, cluster, told, at=rfc3339(now))
            return gone, gone and left_for_good(connection, cluster), turn

        gone, left, turn = await self._store.write(write)
        if lacking:
            self._live.changed(turn)
            raise SendAll(
                "the manager has not got this agent's full report yet", next_step="Send all."
            )
        if last:
            presence.reporter = request.instance
        if left:
            self._live.forget(cluster)
        self._live.changed({cluster, *turn} if gone else turn)


def _bare_cluster(workspace: str, name: str, labels: dict[str, str]) -> dict[str, Any]:
    meta = {"name": name, "namespace": workspace, "labels": labels}
    return {
        "apiVersion": validation.api_version("Cluster"),
        "kind": "Cluster",
        "metadata": meta,
        "spec": {},
    }


def _follow_pages(presence: Presence, request: wire.StatusRequest, epoch: Epoch) -> None:
    """Count the pages of a full report. Raises SendAll when one is missing: what is not mentioned
    counts as not there.
    """
    if request.page == 1:
        presence.pages, presence.mentioned = 0, frozenset()
    if request.page != presence.pages + 1:
        raise SendAll("a page of this agent's full report is missing", next_step="Send all.")
    presence.pages = request.page
    presence.mentioned |= {
        report.bundle for report in request.deployments if report.epoch in {0, epoch}
    }
    if len(presence.mentioned) > MOST_BUNDLES:
        presence.pages, presence.mentioned = 0, frozenset()
        raise UsageError(
            f"a report names more than {MOST_BUNDLES} bundles",
            subject="report",
            next_step="Update the agent.",
        )


def _proven(request: wire.EnrolRequest) -> bytes:
    try:
        key, proof = wire.unb64(request.public_key), wire.unb64(request.proof)
    except ValueError:
        key, proof = b"", b""
    if len(key) != 32 or not verify(
        key, proof, wire.enrol_bytes(request.token, request.public_key)
    ):
        raise LoginError(
            "the request does not prove that its key is its own", next_step="Enrol again."
        )
    return key
