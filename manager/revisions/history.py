"""The revisions of bundles, and going back to one of them.

Rule: a rollback pins a revision: clusters get its content and options, as a new generation and
through the bundle's rollout, until a person releases it or pins another one. The manager follows
Git meanwhile without an effect on clusters; which clusters get the bundle, and how fast, is as Git
says now.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.errors import NotFound, RefusedError
from fleetctl.core.model.ids import BundleName, ClusterId, CommitId, Workspace
from fleetctl.core.rollout.decide import Phase
from fleetctl.sources.git.store import About

from ..clock import rfc3339, unix
from ..store import Reader, Writer
from ..store.commands.audit_log import (
    CommitDecision,
    delete_decisions_of_bundles,
    follow_decision,
    insert_commit_decisions,
    insert_decision,
)
from ..store.commands.pins import delete_pins_of_bundles, pin_bundle
from ..store.commands.revisions import NewRevision, Retention, delete_revisions, store_revisions
from ..store.keys import BundleKey
from ..store.queries import revisions as queries
from ..store.queries.audit_log import decision_numbers
from ..store.queries.pins import pin_counts
from ..store.queries.rollouts import find_rollout
from . import audit_log
from .last_good import find_last_good
from .pins import content_of

# How many different contents are kept, whatever their age; and all revisions of so many days, up to
# MOST.
CONTENTS, DAYS, MOST_REVISIONS = 10, 30, 200
_json = msgspec.json.encode


class BundleHistory(NamedTuple):
    """The revision that the bundle is pinned to (0: none) and the content of each revision: what of
    it reaches clusters, so that revisions without a difference for clusters are equal.
    """

    pin: int
    contents: Mapping[int, BundleSpec]

    @property
    def newest(self) -> int:
        return max(self.contents, default=0)

    @property
    def current(self) -> int:
        """The revision that clusters should have now."""
        return self.pin or self.newest


def record(writer: Writer, specs: Iterable[BundleSpec], about: About, now: str) -> None:
    """Store a revision of each bundle that has just changed, numbered with the bundle's generation.

    Deletes revisions that are older than DAYS and not among the newest CONTENTS different ones. A
    revision that is pinned or was good stays.
    """
    retention = Retention(CONTENTS, MOST_REVISIONS, rfc3339(unix(now) - DAYS * 86400))
    by_workspace: dict[Workspace, list[BundleSpec]] = {}
    for spec in specs:
        by_workspace.setdefault(spec.workspace, []).append(spec)
    for workspace, changed_specs in by_workspace.items():
        versions = queries.bundle_versions(writer, workspace, [spec.name for spec in changed_specs])
        rows = [_new_revision(spec, about, versions[spec.name]) for spec in changed_specs]
        store_revisions(writer, workspace, rows, retention, now)
        follow_commits(writer, workspace, rows, now)


def _new_revision(spec: BundleSpec, about: About, version: queries.BundleVersion) -> NewRevision:
    return NewRevision(
        bundle=spec.name,
        number=version.generation,
        commit=spec.commit,
        author=about.author,
        subject=about.subject,
        archive=spec.archive,
        spec=_json(spec),
        content_digest=content_key(spec),
        pin=version.pin,
    )


def follow_commits(
    writer: Writer, workspace: Workspace, rows: Sequence[NewRevision], now: str
) -> None:
    """The clusters of bundles without a pin follow the commits of the new revisions."""
    commits = [
        CommitDecision(row.bundle, row.number, row.commit, row.author, row.subject)
        for row in rows
        if not row.pin
    ]
    if commits:
        decision = insert_commit_decisions(writer, workspace, commits, audit_log.COMMIT, now)
        follow_decision(writer, workspace, [commit.bundle for commit in commits], decision)


def content_key(spec: BundleSpec) -> str:
    """Equal for two revisions between which a rollback changes nothing on a cluster."""
    options = (
        spec.options,
        spec.customizations,
        spec.customization_mode,
        spec.depends_on,
        spec.labels,
    )
    return hashlib.sha256(_json([spec.archive, options])).hexdigest()[:32]


def forget(writer: Writer, workspace: Workspace, names: Collection[BundleName]) -> None:
    """Delete the revisions, decisions and pins of bundles that no longer exist."""
    delete_revisions(writer, workspace, names)
    delete_decisions_of_bundles(writer, workspace, names)
    delete_pins_of_bundles(writer, workspace, names)


def pin(
    writer: Writer,
    bundle: BundleKey,
    past: BundleHistory,
    number: int,
    *,
    reason: str,
    person: str,
    now: str,
) -> int:
    """Pin revision `number`, or (0) the one before that clusters should have now; while a rollout
    is not completed, the last good one. Returns the number. Raises NotFound, RefusedError.
    """
    number = number or rollback_target(writer, bundle)
    number = choose_revision(bundle[1], past.contents, number, past.current)
    decision = insert_decision(
        writer, bundle, audit_log.ROLLBACK, number, person=person, reason=reason, at=now
    )
    _set_pin(writer, bundle, number, reason, decision)
    return number


def rollback_target(reader: Reader, bundle: BundleKey) -> int:
    """The last good revision while a rollout is not completed, since the revision before may never
    have been completed either. 0 if it is completed or there is no rollout.
    """
    rollout = find_rollout(reader, bundle)
    if rollout is None or rollout.phase == Phase.COMPLETED.value:
        return 0
    return find_last_good(reader, bundle)


def choose_revision(
    bundle: BundleName, contents: Mapping[int, BundleSpec], number: int, current: int
) -> int:
    """Revision `number`, or (0) the newest before `current` with another content. Raises NotFound,
    RefusedError.
    """
    subject, list_step = f"bundle {bundle}", f"See `fleetctl bundle history {bundle}`."
    if number and number not in contents:
        summary = f"bundle {bundle} has no revision {number}"
        raise NotFound(summary, subject=subject, next_step=list_step)
    older = [
        revision
        for revision, content in contents.items()
        if revision < current and content != contents.get(current)
    ]
    if not number and not older:
        newest = current == max(contents, default=0)
        step = "Only its present revision is known." if newest else list_step
        summary = f"bundle {bundle} has no older revision"
        raise RefusedError(summary, subject=subject, next_step=step)
    return number or max(older)


def release(
    writer: Writer, bundle: BundleKey, past: BundleHistory, *, person: str, now: str
) -> None:
    """Follow Git again. Raises RefusedError if the bundle is not pinned."""
    if not past.pin:
        step = "It follows Git already."
        if pin_counts(writer, bundle):
            step = "Release its clusters' own pins with --cluster, -l, --partition or --all."
        summary = f"bundle {bundle[1]} is not pinned"
        raise RefusedError(summary, subject=f"bundle {bundle[1]}", next_step=step)
    decision = insert_decision(
        writer, bundle, audit_log.RELEASE, past.newest, person=person, reason="", at=now
    )
    _set_pin(writer, bundle, 0, "", decision)


def past_of(reader: Reader, bundle: BundleKey) -> BundleHistory:
    """Raises NotFound if the bundle does not exist."""
    pin = queries.revision_of_pin(reader, bundle)
    if pin is None:
        summary = f"bundle {bundle[1]} does not exist in workspace {bundle[0]}"
        step = "See `fleetctl get bundles`."
        raise NotFound(summary, subject=f"bundle {bundle[1]}", next_step=step)
    specs = queries.revision_specs(reader, bundle)
    if not specs:
        return BundleHistory(pin, {})
    newest = specs[max(specs)]
    blank: dict[str, Any] = {"commit": CommitId(""), "path": "", "moved_from": BundleName("")}
    contents = {
        number: msgspec.structs.replace(content_of(spec, newest), **blank)
        for number, spec in specs.items()
    }
    return BundleHistory(pin, contents)


def _set_pin(writer: Writer, bundle: BundleKey, number: int, reason: str, decision: int) -> None:
    pin_bundle(writer, bundle, number, reason)
    follow_decision(writer, bundle[0], [bundle[1]], decision)


def list_revisions(
    reader: Reader, bundle: BundleKey, offline: Callable[[ClusterId], bool]
) -> list[dict[str, Any]]:
    """The revisions as the API shows them, the newest first, each with the number of its clusters;
    no cluster that is `offline` is ready. Raises NotFound.

    A newer revision that changed nothing for clusters (only targets, or the rollout) counts the
    clusters of the older one too.
    """
    past = past_of(reader, bundle)
    rows = queries.list_revisions(reader, bundle)
    current = past.pin or (rows[0].number if rows else 0)
    pins = {count.number: count.clusters for count in pin_counts(reader, bundle)}
    counts: Counter[tuple[int, bool]] = Counter()
    for number, ready, clusters in _clusters_by_revision(reader, bundle, rows, offline):
        content = past.contents.get(number)
        is_current = content is not None and content == past.contents.get(current)
        counts[current if is_current and number not in pins else number, ready] += clusters
    return [
        _document(row, counts, pins.get(row.number, 0), current=current, pin=past.pin)
        for row in rows
    ]


def _clusters_by_revision(
    reader: Reader,
    bundle: BundleKey,
    rows: Sequence[queries.RevisionRow],
    offline: Callable[[ClusterId], bool],
) -> Iterator[tuple[int, bool, int]]:
    """Yields (revision, ready, number of clusters that were told it). A delivery of an older
    manager is recognized by its archive and commit.
    """
    numbers = decision_numbers(reader, bundle)
    by_commit = {(row.archive, row.commit): row.number for row in rows}
    ready = Counter(
        delivery
        for cluster, delivery in queries.ready_deliveries(reader, bundle)
        if not offline(cluster)
    )
    for delivery, clusters in queries.count_deliveries(reader, bundle).items():
        key = delivery.archive, delivery.commit
        number = numbers.get(delivery.decision) or by_commit.get(key, 0)
        yield number, True, ready[delivery]
        yield number, False, clusters - ready[delivery]


def _document(
    row: queries.RevisionRow,
    counts: Counter[tuple[int, bool]],
    pins: int,
    *,
    current: int,
    pin: int,
) -> dict[str, Any]:
    return {
        "number": row.number,
        "commit": row.commit,
        "author": row.author,
        "subject": row.subject,
        "taken": row.recorded_at,
        "clusters": counts[row.number, True] + counts[row.number, False],
        "ready": counts[row.number, True],
        "current": row.number == current,
        "pinned": row.number == pin,
        "pinnedClusters": pins,
    }
