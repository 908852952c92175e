"""What people say of removals: a held one may go, and labels of many clusters are changed by one
call that tells what it would take away.

Rule: a yes names the number. It lets exactly that many go, and nothing when there are more or fewer
by now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetctl.core.formats.labels import check_labels
from fleetctl.core.model.cluster import matches, parse_selector
from fleetctl.core.model.errors import Conflict, NotFound, UsageError
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace, is_name
from fleetctl.core.rollout.label_effects import effects_of

from ..agents.presence import Live
from ..clock import Clock, rfc3339
from ..reconcile import removal_guard
from ..reconcile.reconcile import reconcile
from ..reconcile.removal_guard import Removals
from ..store.engine import Store
from ..store.queries import Scope, shown_labels
from ..store.schema import bundles, clusters, moves, repos
from ..views.held_removals import of_scan, shown

_MOST_NAMED = 20
_MOST_EFFECTS = 1000


@dataclass(frozen=True)
class Labels:
    """`changes` to the labels of the clusters with these names, or that the selector picks; None
    takes one away. `removals`: exactly so many deployments may go with it.
    """

    workspace: str
    changes: dict[str, str | None]
    names: Sequence[str] = ()
    selector: str = ""
    dry_run: bool = False
    removals: int | None = None


class _DryRun(Exception):
    """Carries the answer out of a transaction that must not be kept."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__()
        self.answer = answer


@dataclass
class _Changed:
    """What a change of labels has done."""

    names: list[str]
    picked: int
    touched: set[ClusterId] = field(default_factory=set)
    removals: Removals = field(default_factory=Removals)
    cluster_names: dict[ClusterId, str] = field(default_factory=dict)

    def shown(self, connection: Connection, labels: Labels) -> dict[str, Any]:
        lost = self.removals.gone | self.removals.held
        bundles: dict[str, int] = {}
        for _, bundle in lost:
            bundles[bundle] = bundles.get(bundle, 0) + 1
        effects = effects_of(
            self.removals.changes, self.removals.had, self.cluster_names.__getitem__
        )
        return {
            "picked": self.picked,
            "clusters": len(self.names),
            "names": self.names[:_MOST_NAMED],
            "removals": len(lost),
            "held": len(self.removals.held),
            "bundles": [
                {"name": name, "removals": amount} for name, amount in sorted(bundles.items())
            ],
            "effects": [msgspec.to_builtins(effect) for effect in effects[:_MOST_EFFECTS]],
            "moreEffects": max(0, len(effects) - _MOST_EFFECTS),
            "holds": [
                shown(one)
                for one in removal_guard.current(connection, labels.workspace)
                if one.bundle in bundles and self.removals.held
            ],
            "dryRun": labels.dry_run,
        }


class People:
    def __init__(
        self, store: Store, live: Live, clock: Clock, poke: Callable[[str, str], None]
    ) -> None:
        """`poke`: scan this GitRepo of a workspace again, soon."""
        self._store, self._live, self._clock, self._poke = store, live, clock, poke

    async def held(self, workspace: str | None) -> list[dict[str, Any]]:
        """The removals that wait for a person: of bundles from clusters, and of bundles from
        repositories.
        """
        return await self._store.read(lambda connection: every(connection, workspace))

    async def confirm(
        self, workspace: str, bundle: str, removals: int, digest: str = ""
    ) -> dict[str, Any]:
        """Let exactly these go. Raises Conflict when it is another number, or another set than
        `digest` names, by now.
        """
        place, now = (Workspace(workspace), BundleName(bundle)), rfc3339(self._clock())
        touched = await self._store.write(
            lambda connection: confirm(connection, place, removals, digest, now)
        )
        self._live.changed(touched)
        return {"confirmed": removals}

    async def moved(
        self, workspace: str, old: str, new: str, *, taken_back: bool = False
    ) -> dict[str, Any]:
        """What a person says of a bundle's name: it is `new` from the scan on that finds it so.
        Raises NotFound, Conflict, UsageError.
        """
        place, now = (
            (Workspace(workspace), BundleName(old), BundleName(new)),
            rfc3339(self._clock()),
        )
        names = await self._store.write(
            lambda connection: say_moved(connection, place, now, taken_back=taken_back)
        )
        for repo in names:
            self._poke(workspace, repo)
        return {"old": old, "new": new, "said": not taken_back}

    async def label(self, labels: Labels) -> dict[str, Any]:
        """Raises NotFound, UsageError, and Conflict when another number of deployments would go
        than `labels` says.
        """
        check_labels(labels.changes, f"clusters of workspace {labels.workspace[:80]}")
        now = rfc3339(self._clock())

        def write(connection: Connection) -> tuple[set[ClusterId], dict[str, Any]]:
            changed = _relabel(connection, labels, now)
            answer = changed.shown(connection, labels)
            if labels.dry_run:
                raise _DryRun(answer)
            return changed.touched, answer

        try:
            touched, answer = await self._store.write(write)
        except _DryRun as done:
            return done.answer
        self._live.changed(touched)
        return answer


def every(connection: Connection, workspace: str | None) -> list[dict[str, Any]]:
    r = repos.c
    query = (
        sa.select(r.workspace, r.name, r.scanned_at, r.held)
        .where(r.held != b"null")
        .order_by(r.workspace, r.name)
    )
    rows = connection.execute(query.where(r.workspace == workspace) if workspace else query)
    scans = [
        of_scan(row.workspace, row.name, row.scanned_at, msgspec.json.decode(row.held))
        for row in rows
    ]
    return scans + [
        shown(one) for one in removal_guard.current(connection, workspace, digests=True)
    ]


def say_moved(
    connection: Connection,
    place: tuple[Workspace, BundleName, BundleName],
    now: str,
    *,
    taken_back: bool,
) -> list[str]:
    """Write it down; the GitRepos that must be scanned again for it."""
    workspace, old, new = place
    if not is_name(new, limit=53):
        raise UsageError(
            f"{new[:80]!r} cannot be a bundle's name",
            subject=f"bundle {new[:80]}",
            next_step="See `fleetctl held list`.",
        )
    b, m, r = bundles.c, moves.c, repos.c
    rows = connection.execute(
        sa.select(b.name, b.repo).where(b.workspace == workspace, b.name.in_({old, new}))
    )
    there = {row.name: row.repo for row in rows}
    if old not in there:
        summary = f"bundle {old} does not exist in workspace {workspace}"
        raise NotFound(
            summary,
            subject=f"Bundle {workspace}/{old}",
            next_step=f"See `fleetctl get bundles -n {workspace}`.",
        )
    if new in there and new != old:
        summary = f"bundle {new} exists already: it was installed again"
        step = "Only a bundle that is not there yet can be what another one was."
        raise Conflict(summary, subject=f"Bundle {workspace}/{new}", next_step=step)
    mine = (m.workspace == workspace) & (m.old == old) & (m.repo == "")
    said = connection.execute(sa.delete(moves).where(mine)).rowcount
    if taken_back and not said:
        raise NotFound(
            f"nothing was said of bundle {old}",
            subject=f"Bundle {workspace}/{old}",
            next_step="See `fleetctl held list`.",
        )
    if not taken_back:
        connection.execute(
            sa.delete(moves).where(m.workspace == workspace, m.new == new, m.repo == "")
        )
        row = {"workspace": workspace, "old": old, "new": new, "repo": "", "at": now}
        connection.execute(sa.insert(moves).prefix_with("OR REPLACE"), row)
    # A scan that could not take a bundle of that name, or holds it, may do so now.
    waits = sa.cast(r.problems, sa.String).contains("name-taken") | sa.cast(
        r.held, sa.String
    ).contains(f'"{new}"')
    others = connection.execute(sa.select(r.name).where(r.workspace == workspace, waits)).scalars()
    return sorted({there[old], *others})


def confirm(
    connection: Connection,
    place: tuple[Workspace, BundleName],
    removals: int,
    digest: str,
    now: str,
) -> set[ClusterId]:
    """The clusters whose document is another one now. Raises Conflict."""
    workspace, bundle = place
    held = removal_guard.keys_of(connection, workspace, bundle)
    if len(held) != removals or (digest and digest != removal_guard.digest_of(held)):
        said = f"{len(held)} removals are held" if held else "nothing is held"
        same = len(held) == removals
        summary = (
            "other clusters are held by now than were named" if same else f"{said}, not {removals}"
        )
        raise Conflict(
            summary,
            subject=f"bundle {workspace}/{bundle}",
            next_step="Look again with `fleetctl held list`.",
        )
    sure = {(cluster, bundle) for cluster in held}
    return reconcile(
        connection, Scope(workspace, bundles=[bundle]), now=now, removals=Removals(sure=sure)
    )


def _relabel(connection: Connection, labels: Labels, now: str) -> _Changed:
    picks = _picking(labels)
    c = clusters.c
    query = (
        sa.select(c.id, c.name, c.labels).where(c.workspace == labels.workspace).order_by(c.name)
    )
    rows = [
        row
        for row in connection.execute(query)
        if picks(row.name, shown_labels(row.name, msgspec.json.decode(row.labels)))
    ]
    missing = sorted(set(labels.names) - {row.name for row in rows})
    if missing:
        step = f"See `fleetctl get clusters -n {labels.workspace}`."
        subject = f"Cluster {labels.workspace}/{missing[0]}"
        raise NotFound(
            f"Cluster {missing[0]} does not exist in workspace {labels.workspace}",
            subject=subject,
            next_step=step,
        )
    changed, values = _Changed([], len(rows)), []
    for row in rows:
        had = msgspec.json.decode(row.labels)
        new = {
            key: value for key, value in sorted((had | labels.changes).items()) if value is not None
        }
        if new != had:
            changed.names.append(row.name)
            values.append({"i": row.id, "l": msgspec.json.encode(new)})
            changed.cluster_names[ClusterId(row.id)] = row.name
    ids = [ClusterId(value["i"]) for value in values]
    if values:
        update = (
            sa.update(clusters)
            .where(c.id == sa.bindparam("i"))
            .values(labels=sa.bindparam("l"), issued=now, generation=c.generation + 1)
        )
        connection.execute(update, values)
    changed.removals.number = labels.removals
    changed.touched = reconcile(
        connection,
        Scope(Workspace(labels.workspace), clusters=ids),
        now=now,
        removals=changed.removals,
    ) | set(ids)
    return changed


def _picking(labels: Labels) -> Callable[[str, dict[str, str]], bool]:
    """Raises UsageError."""
    if bool(labels.names) == bool(labels.selector):
        step = "Name clusters, or give a selector."
        raise UsageError(
            "labels are changed of clusters that are named, or picked by a selector", next_step=step
        )
    if labels.names:
        names = set(labels.names)
        return lambda name, _: name in names
    selector = parse_selector(labels.selector)
    return lambda _, had: matches(selector, had)
