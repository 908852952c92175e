"""Creates, changes and deletes the objects that people write.

Rule: each call is one transaction, which also reconciles what depends on the object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fleetctl.core.documents.convert import Note
from fleetctl.core.formats.labels import check_labels
from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.ids import ClusterId, Workspace

from .. import validation
from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..security.vault import Vault
from ..store.commands import objects as object_commands
from ..store.connection import Reader, Writer
from ..store.engine import Store
from ..store.queries import clusters as cluster_queries
from ..store.queries import objects as object_queries
from ..store.queries.objects import StoredObjectKey
from ..views.not_found import not_found
from ..views.objects import get_document
from .object_delete import delete_object, removal_effect
from .object_effects import reconcile_object
from .object_put import PutResult, Submission, put_object

_json = msgspec.json.encode
Document = dict[str, Any]


@dataclass(frozen=True)
class Put:
    """`token` is the value of a new ClusterRegistrationToken, returned once. `warnings`: fields
    that are risky or have no effect, one line each.
    """

    result: PutResult
    object: Document
    token: str | None = None
    warnings: list[str] = field(default_factory=list)


class ObjectCommands:
    """`on_repo_change` is called with (workspace, name) after a GitRepo was written or deleted, and
    with name "" after a Secret or ConfigMap was written.
    """

    def __init__(
        self,
        store: Store,
        live: PresenceTable,
        vault: Vault,
        clock: Clock,
        on_repo_change: Callable[[str, str], None],
    ) -> None:
        self._store, self._live, self._vault, self._clock = store, live, vault, clock
        self._on_repo_change = on_repo_change

    async def put(
        self, kind: str, workspace: str, name: str, document: Document, *, dry_run: bool = False
    ) -> Put:
        """Create or change an object. Raises UsageError, RefusedError, NotEnforced."""
        submission, warnings = _check(kind, workspace, name, document)
        if dry_run:
            return await self._preview_put(submission, warnings)
        now = self._clock()
        outcome = await self._store.write(
            lambda writer: put_object(writer, submission, self._vault, now, dry_run=False)
        )
        if outcome.result != "unchanged":
            self._live.mark_changed(outcome.changed_clusters)
            if kind in {"GitRepo", "Secret", "ConfigMap"}:
                self._on_repo_change(workspace, name if kind == "GitRepo" else "")
        view = await self._store.read(lambda reader: self._view_or_empty(reader, submission.key))
        return Put(outcome.result, view, outcome.token, warnings)

    async def _preview_put(self, submission: Submission, warnings: list[str]) -> Put:
        """What `put` would do, without a change."""
        now = self._clock()

        def work(writer: Writer) -> Put:
            outcome = put_object(writer, submission, self._vault, now, dry_run=True)
            view = self._view(writer, submission.key)
            return Put(outcome.result, view, outcome.token, warnings)

        return await self._store.preview(work)

    async def patch_labels(
        self, kind: str, workspace: str, name: str, changes: Mapping[str, str | None]
    ) -> Document:
        """Set labels; None removes one. Returns the object. Raises NotFound, UsageError."""
        check_labels(changes, f"{kind} {workspace}/{name}")
        if kind in validation.READ_ONLY:
            validation.check_document(kind, workspace, name, {})
        key, now = StoredObjectKey(kind, Workspace(workspace), name), rfc3339(self._clock())
        changed_clusters = await self._store.write(
            lambda writer: _patch_labels(writer, key, changes, now)
        )
        self._live.mark_changed(changed_clusters)
        return await self._store.read(lambda reader: self._view_or_empty(reader, key))

    async def removal(self, kind: str, workspace: str, name: str) -> Document:
        """What a delete would remove. Raises NotFound."""
        key = StoredObjectKey(kind, Workspace(workspace), name)
        return await self._store.read(lambda reader: removal_effect(reader, key))

    async def delete(
        self, kind: str, workspace: str, name: str, *, uninstall: bool = False
    ) -> Document:
        """Delete the object; of a GitRepo also its bundles, on all clusters. What runs on a deleted
        cluster stays, unless `uninstall`. Returns what was removed. Raises NotFound.
        """
        if kind in validation.READ_ONLY:
            validation.check_document(kind, workspace, name, {})
        key, now = StoredObjectKey(kind, Workspace(workspace), name), rfc3339(self._clock())

        def work(writer: Writer) -> tuple[Document, set[ClusterId], set[ClusterId]]:
            effect = removal_effect(writer, key)
            changed_clusters = delete_object(writer, key, now=now, uninstall=uninstall)
            if kind != "Cluster":
                return effect, changed_clusters, set()
            return (
                effect,
                changed_clusters,
                changed_clusters - cluster_queries.existing_clusters(writer, changed_clusters),
            )

        effect, changed_clusters, deleted_clusters = await self._store.write(work)
        for cluster in deleted_clusters:
            self._live.forget(cluster)
        self._live.mark_changed(changed_clusters)
        if kind == "GitRepo":
            self._on_repo_change(workspace, name)
        return effect

    def _view(self, reader: Reader, key: StoredObjectKey) -> Document:
        kind, workspace, name = key
        return get_document(reader, self._live, kind, workspace, name, self._clock())

    def _view_or_empty(self, reader: Reader, key: StoredObjectKey) -> Document:
        """{} when the object was deleted after the write."""
        try:
            return self._view(reader, key)
        except NotFound:
            return {}


def _check(
    kind: str, workspace: str, name: str, document: Document
) -> tuple[Submission, list[str]]:
    """Returns the checked object and warnings. Raises UsageError, RefusedError, NotEnforced."""
    notes: list[Note] = []
    spec = validation.check_document(kind, workspace, name, document, notes)
    meta = validation.metadata(kind, name, document)
    submission = Submission(
        StoredObjectKey(kind, Workspace(workspace), name),
        labels=_json(meta.get("labels") or {}),
        annotations=_json(meta.get("annotations") or {}),
        spec=_json(spec),
    )
    warnings = validation.warnings_of(kind, document)
    return submission, [*warnings, *(f"{note.summary}. {note.next_step}" for note in notes)]


def _patch_labels(
    writer: Writer, key: StoredObjectKey, changes: Mapping[str, str | None], now: str
) -> set[ClusterId]:
    """Returns the clusters whose documents changed. Raises NotFound."""
    row = object_queries.find_object(writer, key)
    if row is None:
        raise not_found(writer, *key)
    labels = msgspec.json.decode(row.labels) | changes
    remaining = {name: value for name, value in sorted(labels.items()) if value is not None}
    object_commands.set_object_labels(writer, key, _json(remaining))
    return reconcile_object(writer, key, now) if key.kind in {"Cluster", "ClusterGroup"} else set()
