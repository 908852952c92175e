"""Commands about removals: a person confirms held removals, renames bundles, and changes labels of
many clusters with a preview of what that would remove.

Rule: a confirmation states the number. It allows exactly that many removals, and none when there
are more or fewer by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fleetctl.core.formats.labels import check_labels
from fleetctl.core.model.cluster import matches, parse_selector
from fleetctl.core.model.errors import Conflict, NotFound, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace, is_name
from fleetctl.core.rollout.label_effects import effects_of

from ..clock import Clock, rfc3339
from ..presence import PresenceTable
from ..reconcile.held_removals import digest_of, list_holds
from ..reconcile.reconcile import ReconcileResult, reconcile_scope
from ..reconcile.removal_guard import RemovalConsent
from ..store import Reader, Writer
from ..store.commands.clusters import set_cluster_labels
from ..store.commands.ingest.moves import request_move, withdraw_move
from ..store.engine import Store
from ..store.queries import Scope, shown_labels
from ..store.queries.bundles import owners_of
from ..store.queries.clusters import ClusterLabels, cluster_labels
from ..store.queries.ingest.gitrepos import repos_blocked_by_name, scan_removals
from ..store.queries.rollout.removals import held_cluster_ids
from ..views.removals.held import hold_document, scan_document

_MAX_NAMES = 20
_MAX_EFFECTS = 1000


@dataclass(frozen=True)
class Labels:
    """`changes` to the labels of the clusters with these names, or that the selector matches; None
    removes a label. `removals`: exactly this many deployments may be removed by it.
    """

    workspace: str
    changes: dict[str, str | None]
    names: Sequence[str] = ()
    selector: str = ""
    dry_run: bool = False
    removals: int | None = None


@dataclass(frozen=True)
class _LabelUpdate:
    """What a change of labels did: `match_count` clusters, of which `names` have new labels."""

    names: dict[ClusterId, str]
    match_count: int
    result: ReconcileResult

    def answer(self, reader: Reader, labels: Labels) -> dict[str, Any]:
        result, names = self.result, list(self.names.values())
        removals = result.removals | result.new_holds
        bundles = Counter(bundle for _, bundle in removals)
        effects = effects_of(result.changes, result.deliveries, self.names.__getitem__)
        return {
            "picked": self.match_count,
            "clusters": len(names),
            "names": names[:_MAX_NAMES],
            "removals": len(removals),
            "held": len(result.new_holds),
            "bundles": [
                {"name": name, "removals": amount} for name, amount in sorted(bundles.items())
            ],
            "effects": [msgspec.to_builtins(effect) for effect in effects[:_MAX_EFFECTS]],
            "moreEffects": max(0, len(effects) - _MAX_EFFECTS),
            "holds": [
                hold_document(hold)
                for hold in list_holds(reader, labels.workspace)
                if hold.bundle in bundles and result.new_holds
            ],
            "dryRun": labels.dry_run,
        }


class RemovalCommands:
    """Runs the commands, and wakes the agents and scans that they concern."""

    def __init__(
        self, store: Store, live: PresenceTable, clock: Clock, poke: Callable[[str, str], None]
    ) -> None:
        """`poke`: scan this GitRepo of a workspace again, soon."""
        self._store, self._live, self._clock, self._poke = store, live, clock, poke

    async def list_held(self, workspace: str | None) -> list[dict[str, Any]]:
        """Return the removals that wait for a person: of bundles from clusters, and of bundles from
        GitRepos.
        """
        return await self._store.read(lambda reader: list_removals(reader, workspace))

    async def confirm(
        self, workspace: str, bundle: str, removals: int, digest: str = ""
    ) -> dict[str, Any]:
        """Allow exactly these removals. Raises Conflict when the number, or the set that `digest`
        names, is another one by now.
        """
        place, now = (Workspace(workspace), BundleName(bundle)), rfc3339(self._clock())
        changed_clusters = await self._store.write(
            lambda writer: confirm(writer, place, removals, digest, now)
        )
        self._live.mark_changed(changed_clusters)
        return {"confirmed": removals}

    async def move(
        self, workspace: str, old: str, new: str, *, taken_back: bool = False
    ) -> dict[str, Any]:
        """Request that bundle `old` becomes `new` with the next scan that finds it so, or withdraw
        the request. Raises NotFound, Conflict, UsageError.
        """
        now = rfc3339(self._clock())
        place = (Workspace(workspace), BundleName(old), BundleName(new))
        repos = await self._store.write(
            lambda writer: decide_move(writer, place, now, withdraw=taken_back)
        )
        for repo in repos:
            self._poke(workspace, repo)
        return {"old": old, "new": new, "said": not taken_back}

    async def label(self, labels: Labels) -> dict[str, Any]:
        """Change labels. Raises NotFound, UsageError, and Conflict when the number of removals is
        not the stated one.
        """
        check_labels(labels.changes, f"clusters of workspace {labels.workspace[:80]}")
        now = rfc3339(self._clock())

        def write(writer: Writer) -> tuple[set[ClusterId], dict[str, Any]]:
            update = _relabel(writer, labels, now)
            changed_clusters = update.result.changed_clusters | update.names.keys()
            return changed_clusters, update.answer(writer, labels)

        if labels.dry_run:
            return (await self._store.preview(write))[1]
        changed_clusters, answer = await self._store.write(write)
        self._live.mark_changed(changed_clusters)
        return answer


def list_removals(reader: Reader, workspace: str | None) -> list[dict[str, Any]]:
    """Return all removals that wait for a person, those of scans first."""
    scans = [
        scan_document(row.workspace, row.repo, row.scanned_at, row.removal)
        for row in scan_removals(reader, workspace)
    ]
    return scans + [hold_document(hold) for hold in list_holds(reader, workspace, digests=True)]


def decide_move(
    writer: Writer,
    place: tuple[Workspace, BundleName, BundleName],
    now: str,
    *,
    withdraw: bool,
) -> list[str]:
    """Store the request that (workspace, old, new) names, or withdraw it. Returns the GitRepos that
    must be scanned again for it.
    """
    workspace, old, new = place
    if not is_name(new, limit=53):
        raise UsageError(
            f"{new[:80]!r} is not a valid bundle name",
            subject=f"bundle {new[:80]}",
            next_step="See `fleetctl held list`.",
        )
    owners = owners_of(writer, workspace, {old, new})
    if old not in owners:
        raise NotFound(
            f"bundle {old} does not exist in workspace {workspace}",
            subject=f"Bundle {workspace}/{old}",
            next_step=f"See `fleetctl get bundles -n {workspace}`.",
        )
    if new in owners and new != old:
        raise Conflict(
            f"bundle {new} exists already: it was installed again",
            subject=f"Bundle {workspace}/{new}",
            next_step="The new name must be one that no bundle has yet.",
        )
    had_request = withdraw_move(writer, workspace, old)
    if withdraw and not had_request:
        raise NotFound(
            f"no move is declared for bundle {old}",
            subject=f"Bundle {workspace}/{old}",
            next_step="See `fleetctl held list`.",
        )
    if not withdraw:
        request_move(writer, workspace, old, new, now)
    return sorted({owners[old], *repos_blocked_by_name(writer, workspace, new)})


def confirm(
    writer: Writer,
    place: tuple[Workspace, BundleName],
    removals: int,
    digest: str,
    now: str,
) -> set[ClusterId]:
    """Remove what is held of a bundle. Returns the clusters whose documents changed. Raises
    Conflict.
    """
    workspace, bundle = place
    held_ids = held_cluster_ids(writer, workspace, bundle)
    if len(held_ids) != removals or (digest and digest != digest_of(held_ids)):
        summary = "other clusters are held by now than were named"
        if len(held_ids) != removals:
            present = f"{len(held_ids)} removals are held" if held_ids else "nothing is held"
            summary = f"{present}, not {removals}"
        raise Conflict(
            summary,
            subject=f"bundle {workspace}/{bundle}",
            next_step="Look again with `fleetctl held list`.",
        )
    consent = RemovalConsent(keys={(cluster, bundle) for cluster in held_ids})
    scope = Scope(workspace, bundles=[bundle])
    return reconcile_scope(writer, scope, now=now, consent=consent).changed_clusters


def _relabel(writer: Writer, labels: Labels, now: str) -> _LabelUpdate:
    workspace = Workspace(labels.workspace)
    selects = _cluster_filter(labels)
    matches = [
        row
        for row in cluster_labels(writer, workspace)
        if selects(row.name, shown_labels(row.name, row.labels))
    ]
    _check_names(labels, matches)
    new_labels: dict[ClusterId, dict[str, str]] = {}
    for row in matches:
        new_values: dict[str, str | None] = {**row.labels, **labels.changes}
        new = {key: value for key, value in sorted(new_values.items()) if value is not None}
        if new != row.labels:
            new_labels[row.id] = new
    set_cluster_labels(writer, new_labels, now)
    result = reconcile_scope(
        writer,
        Scope(workspace, clusters=list(new_labels)),
        now=now,
        consent=RemovalConsent(number=labels.removals),
    )
    names = {row.id: row.name for row in matches if row.id in new_labels}
    return _LabelUpdate(names, len(matches), result)


def _check_names(labels: Labels, matches: Sequence[ClusterLabels]) -> None:
    """Raise NotFound when a cluster that was named does not exist."""
    missing = sorted(set(labels.names) - {row.name for row in matches})
    if missing:
        raise NotFound(
            f"Cluster {missing[0]} does not exist in workspace {labels.workspace}",
            subject=f"Cluster {labels.workspace}/{missing[0]}",
            next_step=f"See `fleetctl get clusters -n {labels.workspace}`.",
        )


def _cluster_filter(labels: Labels) -> Callable[[str, dict[str, str]], bool]:
    """Return a function that tells by name and labels whether a cluster is meant. Raises
    UsageError.
    """
    if bool(labels.names) == bool(labels.selector):
        raise UsageError(
            "name the clusters, or select them with a selector",
            next_step="Name clusters, or give a selector.",
        )
    if labels.names:
        names = set(labels.names)
        return lambda name, _: name in names
    selector = parse_selector(labels.selector)
    return lambda _, cluster: matches(selector, cluster)
