"""Stores agent releases: versions of the agent that clusters can upgrade to.

Rule: the manager stores the file and hands it out. A release key that never lies on the manager
signs the file, and each agent checks the signature. A file is stored among the archives under its
SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec

from fleetctl.core.model.agent_release import MAX_BYTES, AgentRelease, check
from fleetctl.core.model.errors import Conflict, NotFound, UsageError
from fleetctl.core.model.ids import ClusterId, Digest

from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..store.archives import Archives
from ..store.commands import agent_releases as release_commands
from ..store.commands.documents import mark_documents_changed
from ..store.connection import Reader, Writer
from ..store.engine import Store
from ..store.queries import agent_releases as release_queries

ReleaseDocuments = list[dict[str, Any]]


class AgentReleases:
    """Adds, lists and deletes agent releases."""

    def __init__(self, store: Store, live: PresenceTable, archives: Archives, clock: Clock) -> None:
        self._store, self._live, self._archives, self._clock = store, live, archives, clock

    async def add(self, release: AgentRelease, data: bytes) -> dict[str, Any]:
        """Store the file with its signature; the same file again replaces the signature. Raises
        UsageError, Conflict.
        """
        check(release)
        _check_bytes(release, data)
        now = rfc3339(self._clock())
        await asyncio.to_thread(self._archives.add, [(Digest(release.sha256), data)])
        changed_clusters = await self._store.write(lambda writer: _add(writer, release, now))
        self._live.mark_changed(changed_clusters)
        return _document(release, now, 0)

    async def list(self) -> ReleaseDocuments:
        """The releases, each with the number of clusters that should run it."""
        return await self._store.read(_list)

    async def delete(self, version: str) -> ReleaseDocuments:
        """Delete a version for every platform. Raises NotFound, and Conflict while a cluster should
        run it.
        """
        return await self._store.write(lambda writer: _delete(writer, version))


def _check_bytes(release: AgentRelease, data: bytes) -> None:
    has_size = len(data) <= MAX_BYTES and len(data) == release.size
    if has_size and hashlib.sha256(data).hexdigest() == release.sha256:
        return
    summary = (
        f"the file is not the one that was signed: it has {len(data)} bytes, the signature"
        f" names {release.size}"
    )
    if len(data) == release.size:
        summary = "the file is not the one that was signed: its SHA-256 is another"
    raise UsageError(
        summary,
        subject=f"agent {release.version}",
        next_step="Sign this file, or give the one that was signed.",
    )


def _add(writer: Writer, release: AgentRelease, now: str) -> set[ClusterId]:
    """Returns the clusters whose documents change with a new signature of the same file."""
    if release_queries.has_other_build(writer, release):
        step = (
            f"Give the new file a new version, or `fleetctl agent-release delete {release.version}`"
            " first."
        )
        summary = (
            f"version {release.version} for {release.runtime} exists already with other content"
        )
        raise Conflict(summary, subject=f"agent {release.version}", next_step=step)
    if not release_commands.update_release(writer, release):
        release_commands.insert_release(writer, release, now)
        return set()
    upgrading = release_queries.clusters_upgrading_to(writer, release.sha256)
    return mark_documents_changed(writer, upgrading, now)


def _list(reader: Reader, version: str = "") -> list[dict[str, Any]]:
    counts = release_queries.count_upgrades(reader)
    return [
        _document(release, added_at, counts.get(release.sha256, 0))
        for release, added_at in release_queries.list_releases(reader, version)
    ]


def _document(release: AgentRelease, added_at: str, cluster_count: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"replacesNewer": release.replaces_newer} | msgspec.to_builtins(
        release
    )
    del fields["signature"]
    fields |= {"added": added_at, "wantedBy": cluster_count}
    return fields


def _delete(writer: Writer, version: str) -> list[dict[str, Any]]:
    documents = _list(writer, version)
    if not version or not documents:
        raise NotFound(
            f"there is no agent version {version[:80]}",
            subject=f"agent {version[:80]}",
            next_step="See `fleetctl agent-release list`.",
        )
    count = sum(document["wantedBy"] for document in documents)
    if count:
        clusters = "1 cluster wants" if count == 1 else f"{count} clusters want"
        step = (
            "Set another target version, or remove it with `fleetctl cluster upgrade-agent --off`."
        )
        raise Conflict(
            f"{clusters} agent version {version}", subject=f"agent {version}", next_step=step
        )
    release_commands.delete_releases(writer, version)
    return documents
