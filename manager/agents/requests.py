"""Serves agents: registration, enrolment, desired state, archives and reports."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fleetctl.core.model import wire
from fleetctl.core.model.errors import LoginError, NotEnrolled, NotFound, SendAll, UsageError
from fleetctl.core.model.ids import ClusterId, ClusterName, Digest, Epoch, Workspace
from fleetctl.core.model.status import Report

from .. import validation
from ..clock import Clock, rfc3339, until
from ..ingest.archive_rebuild import Restorer
from ..presence import Presence, PresenceTable, Word
from ..security.signing import Signer, verify
from ..security.tokens import hash_token
from ..store.commands import clusters as cluster_commands
from ..store.commands.clusters import Contact
from ..store.connection import Reader, Writer
from ..store.engine import Store
from ..store.queries import agent_releases as release_queries
from ..store.queries import clusters as cluster_queries
from ..store.queries.clusters import EnrolledRow
from ..store.queries.ingest import archives as archive_queries
from . import registration
from .desired_state import DesiredState, SignedDocument
from .enrolment_batch import ENROLMENTS, EnrolmentItem
from .report_batch import REPORTS, ReportItem
from .report_limits import MOST_BUNDLES

_json = msgspec.json.encode
_LOADED_AT_ONCE = 5000  # clusters, about 20 ms of the event loop
_WAKE_SECONDS = 2.0  # times in requests are whole seconds


@dataclass(frozen=True)
class Registration:
    """The value of a registration token; `expires` RFC 3339."""

    token: str
    expires: str


class AgentRequests:
    """Each method serves one request of an agent, or of a person who registers one."""

    def __init__(
        self,
        store: Store,
        live: PresenceTable,
        desired_state: DesiredState,
        restorer: Restorer,
        signer: Signer,
        clock: Clock,
    ) -> None:
        self._store, self._live, self._desired_state = store, live, desired_state
        self._restorer, self._signer, self._clock = restorer, signer, clock

    async def begin_loading(self) -> int:
        """Count the enrolled clusters before they are loaded. Returns how many there are."""
        count = await self._store.read(cluster_queries.count_enrolled)
        self._live.begin_loading(count)
        return count

    async def load(self) -> None:
        """Load the enrolled clusters into memory, in parts between which requests are served."""
        after = ""
        while True:
            rows = await self._store.read(
                lambda reader, after=after: cluster_queries.enrolled_after(  # type: ignore[misc]
                    reader, after, _LOADED_AT_ONCE
                )
            )
            for row in rows:
                self._live.load(row, _twin_of(row))
            if len(rows) < _LOADED_AT_ONCE:
                break
            after = rows[-1].id
        self._live.end_loading()

    async def prepare(self, cluster: ClusterId) -> None:
        """Load the cluster of a request that comes while clusters are loaded."""
        if not self._live.is_loading or cluster in self._live.clusters:
            return
        row = await self._store.read(lambda reader: cluster_queries.find_enrolled(reader, cluster))
        if row is not None and self._live.is_loading:
            self._live.load(row, _twin_of(row))

    async def register(
        self, workspace: str, name: str, *, labels: dict[str, str], ttl_seconds: int, replace: bool
    ) -> Registration:
        """Create a token that lets one agent enrol as `name`. Raises Conflict when the name is
        enrolled and `replace` is not set.
        """
        now = self._clock()
        validation.check_document(
            "Cluster", workspace, name, _cluster_document(workspace, name, labels)
        )
        token, expires = secrets.token_urlsafe(32), until(now, ttl_seconds)
        claim = registration.EnrolmentClaim(workspace, name, labels, expires, rfc3339(now))
        changed_clusters, revoked_clusters = await self._store.write(
            lambda writer: registration.register(writer, hash_token(token), claim, replace=replace)
        )
        for cluster in revoked_clusters:
            self._live.forget(cluster)
        self._live.mark_changed(changed_clusters)
        return Registration(token, expires)

    async def enrol(self, request: wire.EnrolRequest, *, address: str) -> wire.EnrolAnswer:
        """Bind the agent's key to the token's cluster. Raises LoginError."""
        now = self._clock()
        key = _check_key(request)
        enrolment = await self._store.write_item(
            ENROLMENTS,
            EnrolmentItem(hash_token(request.token), key, rfc3339(now), request.agent_version),
        )
        cluster = enrolment.cluster
        if not enrolment.repeated or cluster.id not in self._live.clusters:
            self._live.add_enrolled(cluster.id, key, now, address)
        self._live.mark_changed(enrolment.changed_clusters | {cluster.id})
        public_key = wire.VerifyKey(
            id=self._signer.key_id, public_key=wire.b64(self._signer.public_key)
        )
        return wire.EnrolAnswer(
            cluster_id=cluster.id,
            cluster=ClusterName(cluster.name),
            workspace=Workspace(cluster.workspace),
            epoch=self._desired_state.epoch,
            keys=[public_key],
            poll_seconds=self._live.poll_seconds(),
        )

    def key_of(self, cluster: ClusterId) -> bytes | None:
        """The public key of the cluster's agent."""
        presence = self._live.clusters.get(cluster)
        return presence.key if presence else None

    async def note_contact(
        self, cluster: ClusterId, *, instance: str, address: str, stamp: int
    ) -> str:
        """Note a request of an agent. Returns what is wrong when two agents use one key, else "".
        That is stored until the next enrolment of the cluster.
        """
        twin_before, speaker = self._live.twin(cluster), self._live.speaker(cluster)
        twin = self._live.note_request(cluster, Word(instance, address, stamp, self._clock()))
        if speaker not in {"", self._live.speaker(cluster)}:
            # Long polls of the earlier instance end: an agent that was restarted does not come
            # back, a duplicate does.
            asyncio.get_running_loop().call_later(_WAKE_SECONDS, self._live.wake, cluster)
        if twin and not twin_before:
            await self._store.write(lambda writer: _mark_twin(writer, cluster, twin))
        return twin

    def find_unchanged(self, cluster: ClusterId, instance: str) -> str:
        """The ETag of the cluster's document, when its revision is in memory and a request of this
        instance is no sign of a second agent; else "".
        """
        revision = self._live.unchanged_revision(cluster, instance)
        return wire.document_etag(self._desired_state.epoch, revision) if revision else ""

    def note_unchanged(
        self, cluster: ClusterId, *, instance: str, address: str, stamp: int
    ) -> None:
        """Note a request for which `find_unchanged` found the document."""
        self._live.note_request(cluster, Word(instance, address, stamp, self._clock()))

    async def get_document(self, cluster: ClusterId, etag: str = "") -> SignedDocument:
        """The cluster's document. `etag`: that of the agent's document. Raises LoginError."""
        return await self._desired_state.get(cluster, etag)

    async def wait_document(self, cluster: ClusterId, etag: str, seconds: float) -> SignedDocument:
        """The document as soon as it differs from the agent's, or after `seconds`."""
        return await self._desired_state.wait(cluster, etag, seconds)

    def poll_seconds(self) -> int:
        """The interval until the agent's next poll."""
        return self._live.poll_seconds()

    async def archive_path(self, cluster: ClusterId, digest: Digest) -> Path:
        """The file, when `digest` is in the cluster's document. Raises NotFound, UnavailableError
        while the archive is built again.
        """
        if not await self._store.read(lambda reader: _may_fetch(reader, cluster, digest)):
            raise NotFound(
                "no such archive for this cluster", next_step="Fetch the desired state again."
            )
        return await self._restorer.path(digest)

    async def report(self, cluster: ClusterId, request: wire.StatusRequest) -> None:
        """Store an agent's report. Raises Conflict (`send-all`) when the manager missed an earlier
        one.
        """
        presence = self._live.clusters.get(cluster)
        if presence is None:
            raise NotEnrolled
        if request.instance == presence.speaker and request.seq <= presence.seq:
            return  # a newer report of the same agent arrived before this one (I8)
        epoch = self._desired_state.epoch
        has_full_report = presence.has_full_report_of(request.instance, request.seq)
        presence.speaker, presence.seq = request.instance, request.seq
        self._live.note_report(cluster)
        if request.full:
            _follow_pages(presence, request, epoch)
        needs_full_report = not request.full and not has_full_report
        is_last_page = request.full and request.page >= request.pages
        reports: list[Report] | None = None
        if not needs_full_report:
            reports = [report for report in request.deployments if report.epoch in {0, epoch}]
        mentioned_bundles = presence.mentioned_bundles if is_last_page else None
        now = self._clock()
        outcome = await self._store.write_item(
            REPORTS, ReportItem(cluster, request, reports, mentioned_bundles, now)
        )
        if needs_full_report:
            self._live.mark_changed(outcome.upgrading)
            raise SendAll(
                "the manager has not got this agent's full report yet", next_step="Send all."
            )
        if is_last_page:
            presence.reporter = request.instance
        if outcome.cluster_deleted:
            self._live.forget(cluster)
        self._live.mark_changed(
            outcome.upgrading | ({cluster} if outcome.tombstone_done else set())
        )

    async def save_contacts(self) -> None:
        """Store when each cluster was heard, in one transaction. A crash loses at most the time
        since the last call.
        """
        contacts = [_contact(cluster, presence) for cluster, presence in self._live.take_unsaved()]
        if not contacts:
            return
        try:
            await self._store.write(lambda writer: cluster_commands.save_contacts(writer, contacts))
        except BaseException:
            self._live.put_back_unsaved(contact.cluster for contact in contacts)
            raise


def _contact(cluster: ClusterId, presence: Presence) -> Contact:
    """The reporter is stored with the number of its own last report, or not at all."""
    if presence.speaker != presence.reporter:
        return Contact(cluster, presence.last_seen, presence.address)
    return Contact(cluster, presence.last_seen, presence.address, presence.reporter, presence.seq)


def _twin_of(row: EnrolledRow) -> str:
    return msgspec.json.decode(row.agent).get("twin", "") if b'"twin"' in row.agent else ""


def _may_fetch(reader: Reader, cluster: ClusterId, digest: Digest) -> bool:
    return archive_queries.is_archive_of_cluster(
        reader, cluster, digest
    ) or release_queries.may_fetch_release(reader, cluster, digest)


def _mark_twin(writer: Writer, cluster: ClusterId, twin: str) -> None:
    """Two agents use one key: the cluster shows that until its next enrolment, also after a restart
    of the manager.
    """
    agent = msgspec.json.decode(cluster_queries.agent_of(writer, cluster))
    cluster_commands.set_agent(writer, cluster, _json(agent | {"twin": twin}))


def _cluster_document(workspace: str, name: str, labels: dict[str, str]) -> dict[str, Any]:
    meta = {"name": name, "namespace": workspace, "labels": labels}
    return {
        "apiVersion": validation.api_version("Cluster"),
        "kind": "Cluster",
        "metadata": meta,
        "spec": {},
    }


def _follow_pages(presence: Presence, request: wire.StatusRequest, epoch: Epoch) -> None:
    """Count the pages of a full report. Raises SendAll when a page is missing: a bundle that no
    page mentions counts as not installed.
    """
    if request.page == 1:
        presence.pages, presence.mentioned_bundles = 0, frozenset()
    if request.page != presence.pages + 1:
        raise SendAll("a page of this agent's full report is missing", next_step="Send all.")
    presence.pages = request.page
    presence.mentioned_bundles |= {
        report.bundle for report in request.deployments if report.epoch in {0, epoch}
    }
    if len(presence.mentioned_bundles) > MOST_BUNDLES:
        presence.pages, presence.mentioned_bundles = 0, frozenset()
        raise UsageError(
            f"a report names more than {MOST_BUNDLES} bundles",
            subject="report",
            next_step="Update the agent.",
        )


def _check_key(request: wire.EnrolRequest) -> bytes:
    """The agent's public key. Raises LoginError when the request does not prove that the agent has
    the private key.
    """
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
