"""Queries about bundles: their specs, GitRepos and pins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, Workspace

from ..connection import Reader
from ..schema import bundles
from .targeting import in_parts


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
    query = sa.select(b.name, b.pinned, b.pin_reason).where(b.workspace == workspace, b.pinned > 0)
    return [
        PinnedBundle(BundleName(row.name), row.pinned, row.pin_reason)
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
