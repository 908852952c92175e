"""Reads bundles."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, Workspace

from ..bulk import in_parts
from ..connection import Reader
from ..keys import ALL_KEYS, KeyRange
from ..rows import columns_of, fetch_all, in_range
from ..schema import batch_jobs, bundles, revisions


class BundleRow(msgspec.Struct, frozen=True):
    """A bundle as it is stored; `spec` is the JSON of its BundleSpec. `pinned_revision`: the
    revision that its clusters get in place of the newest, 0 for none.
    """

    workspace: str
    name: str
    repo: str
    uid: str
    generation: int
    created_at: str
    commit: str
    archive: str
    spec: bytes
    pinned_revision: int


class BundleOfRepo(NamedTuple):
    """A bundle and its GitRepo."""

    workspace: str
    name: str
    repo: str


def list_bundles(
    reader: Reader,
    workspace: str | None = None,
    name: str = "",
    repo: str = "",
    keys: KeyRange = ALL_KEYS,
) -> list[BundleRow]:
    """Sorted by workspace and name. An empty filter means all."""
    b = bundles.c
    key_columns = (b.name,) if workspace else (b.workspace, b.name)
    query = sa.select(*columns_of(BundleRow, bundles))
    if workspace:
        query = query.where(b.workspace == workspace)
    if name:
        query = query.where(b.name == name)
    if repo:
        query = query.where(b.repo == repo)
    return fetch_all(reader, in_range(query, key_columns, keys), BundleRow)


def count_bundles_by_repo(reader: Reader, workspace: str | None) -> dict[tuple[str, str], int]:
    """The number of bundles of each GitRepo, by workspace and GitRepo."""
    b = bundles.c
    query = sa.select(b.workspace, b.repo, sa.func.count()).group_by(b.workspace, b.repo)
    if workspace:
        query = query.where(b.workspace == workspace)
    return {(row[0], row[1]): row[2] for row in reader.execute(query)}


def bundles_of_repos(reader: Reader, repos: Collection[tuple[str, str]]) -> list[BundleOfRepo]:
    """The bundles of these GitRepos (workspace, name)."""
    b = bundles.c
    query = sa.select(b.workspace, b.name, b.repo)
    place = sa.tuple_(b.workspace, b.repo)
    return [
        BundleOfRepo(*row)
        for part in in_parts(sorted(repos))
        for row in reader.execute(query.where(place.in_(part)))
    ]


def bundles_with_paused_spec(reader: Reader, workspace: str | None) -> set[tuple[str, str]]:
    """Workspace and name of each bundle with `paused: true` in its fleet.yaml."""
    b = bundles.c
    query = sa.select(b.workspace, b.name, b.spec).where(sa.text("instr(spec, '\"paused\"') > 0"))
    if workspace:
        query = query.where(b.workspace == workspace)
    return {
        (row.workspace, row.name)
        for row in reader.execute(query)
        if msgspec.json.decode(row.spec).get("paused")
    }


def bundles_being_matched(reader: Reader, workspace: str | None) -> list[BundleOfRepo]:
    """Bundles whose clusters are still being matched, so that their counts are not complete."""
    b, p = bundles.c, batch_jobs.c
    same_bundle = (b.workspace == p.workspace) & (b.name == p.bundle)
    query = sa.select(p.workspace, p.bundle, b.repo).join(bundles, same_bundle)
    if workspace:
        query = query.where(p.workspace == workspace)
    return [BundleOfRepo(*row) for row in reader.execute(query)]


def bundle_exists(reader: Reader, workspace: str, name: str) -> bool:
    b = bundles.c
    query = sa.select(b.name).where(b.workspace == workspace, b.name == name)
    return reader.execute(query).first() is not None


class RepoBundle(NamedTuple):
    """A bundle of a GitRepo as the last scan stored it. `commit` may be newer than the commit in
    `spec`: a commit that changes nothing else updates only this column.
    """

    name: BundleName
    spec: BundleSpec
    commit: str


class PinnedBundle(NamedTuple):
    """A bundle that is pinned to revision `number`."""

    name: BundleName
    number: int
    reason: str


class ReleaseHolder(NamedTuple):
    """A bundle that kept its Helm release when it was renamed."""

    bundle: BundleName
    release: str


class RenamedBundle(NamedTuple):
    """What a rename needs to know of a bundle. `release`: that it kept at an earlier rename."""

    repo: str
    release: str
    spec: BundleSpec


def stored_specs(reader: Reader, workspace: Workspace) -> list[BundleSpec]:
    """Return the specs of all bundles of the workspace as the last scans stored them."""
    texts = reader.execute(
        sa.select(bundles.c.spec).where(bundles.c.workspace == workspace)
    ).scalars()
    return [msgspec.json.decode(text, type=BundleSpec) for text in texts]


def repo_bundles(reader: Reader, workspace: Workspace, repo: str) -> dict[BundleName, RepoBundle]:
    """Return the bundles of a GitRepo by name."""
    b = bundles.c
    rows = reader.execute(
        sa.select(b.name, b.spec, b.commit).where(b.workspace == workspace, b.repo == repo)
    )
    return {
        BundleName(row.name): RepoBundle(
            BundleName(row.name), msgspec.json.decode(row.spec, type=BundleSpec), row.commit
        )
        for row in rows
    }


def pinned_bundles(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> list[PinnedBundle]:
    """Return those of the bundles that are pinned as a whole."""
    b = bundles.c
    query = sa.select(b.name, b.pinned_revision, b.pin_reason).where(
        b.workspace == workspace, b.pinned_revision > 0
    )
    return [
        PinnedBundle(BundleName(row.name), row.pinned_revision, row.pin_reason)
        for part in in_parts(sorted(names))
        for row in reader.execute(query.where(b.name.in_(part)))
    ]


def owners_of(
    reader: Reader, workspace: Workspace, names: Iterable[BundleName]
) -> dict[BundleName, str]:
    """Return the GitRepo of each of the bundles that exist."""
    b = bundles.c
    query = sa.select(b.name, b.repo).where(b.workspace == workspace)
    return {
        BundleName(row.name): row.repo
        for part in in_parts(sorted(names))
        for row in reader.execute(query.where(b.name.in_(part)))
    }


def bundle_owners(reader: Reader, workspace: Workspace) -> dict[BundleName, str]:
    """Return the GitRepo of every bundle of the workspace."""
    b = bundles.c
    rows = reader.execute(sa.select(b.name, b.repo).where(b.workspace == workspace))
    return {BundleName(row.name): row.repo for row in rows}


def release_holders(reader: Reader, workspace: Workspace) -> list[ReleaseHolder]:
    """Return all bundles that kept their releases when they were renamed."""
    b = bundles.c
    rows = reader.execute(
        sa.select(b.name, b.release).where(b.workspace == workspace, b.release != "")
    )
    return [ReleaseHolder(BundleName(row.name), row.release) for row in rows]


def bundle_to_rename(reader: Reader, workspace: Workspace, name: BundleName) -> RenamedBundle:
    """Return what a rename needs; the bundle must exist."""
    b = bundles.c
    row = reader.execute(
        sa.select(b.repo, b.release, b.spec).where(b.workspace == workspace, b.name == name)
    ).one()
    return RenamedBundle(row.repo, row.release, msgspec.json.decode(row.spec, type=BundleSpec))


def revision_specs(
    reader: Reader, workspace: Workspace, name: BundleName
) -> list[tuple[int, BundleSpec]]:
    """Return the revisions of a bundle: each number with its spec."""
    r = revisions.c
    rows = reader.execute(
        sa.select(r.number, r.spec).where(r.workspace == workspace, r.bundle == name)
    )
    return [(row.number, msgspec.json.decode(row.spec, type=BundleSpec)) for row in rows]


def specs_with_downstream_resources(reader: Reader, workspace: Workspace) -> list[BundleSpec]:
    """Return the specs that contain `downstreamResources`, for targets that match or do not."""
    texts = reader.execute(
        sa.select(bundles.c.spec).where(bundles.c.workspace == workspace)
    ).scalars()
    return [
        msgspec.json.decode(text, type=BundleSpec)
        for text in texts
        if b'"downstreamResources"' in text
    ]
