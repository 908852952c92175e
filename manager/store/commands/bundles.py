"""Commands for bundles."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, Workspace

from ..bulk import in_parts
from ..connection import Writer
from ..schema import bundles, deployments, metadata, revisions

# Tables with a `bundle` column that need more than a new name, or are maintained by triggers.
_NOT_RENAMED = frozenset({"deployments", "counts"})
_SAME = (bundles.c.workspace == sa.bindparam("w")) & (bundles.c.name == sa.bindparam("n"))
_CONTENT: dict[str, Any] = {
    name: sa.bindparam(f"v_{name}") for name in ("commit", "archive", "spec", "repo")
}


def insert_bundles(writer: Writer, specs: Sequence[tuple[BundleSpec, str]], now: str) -> None:
    """Insert new bundles, each with its uid."""
    rows = [
        {
            "workspace": spec.workspace,
            "name": spec.name,
            "uid": uid,
            "generation": 1,
            "created_at": now,
            "commit": spec.commit,
            "archive": spec.archive,
            "spec": msgspec.json.encode(spec),
            "repo": spec.repo,
        }
        for spec, uid in specs
    ]
    if rows:
        writer.execute(sa.insert(bundles), rows)


def update_bundle_contents(writer: Writer, specs: Sequence[BundleSpec]) -> None:
    """Store new contents of bundles; each gets a new generation."""
    update = sa.update(bundles).where(_SAME)
    _execute(writer, update.values(**_CONTENT, generation=bundles.c.generation + 1), specs)


def update_bundle_pauses(writer: Writer, specs: Sequence[BundleSpec]) -> None:
    """Store bundles that differ only in `paused`; they keep their generations."""
    _execute(writer, sa.update(bundles).where(_SAME).values(**_CONTENT), specs)


def _execute(writer: Writer, update: sa.Update, specs: Sequence[BundleSpec]) -> None:
    rows: list[dict[str, Any]] = [
        {
            "w": spec.workspace,
            "n": spec.name,
            "v_commit": spec.commit,
            "v_archive": spec.archive,
            "v_spec": msgspec.json.encode(spec),
            "v_repo": spec.repo,
        }
        for spec in specs
    ]
    if rows:
        writer.execute(update, rows)


def update_bundle_commits(writer: Writer, specs: Sequence[BundleSpec]) -> None:
    """Store the commits of bundles that did not change otherwise."""
    rows = [{"w": spec.workspace, "n": spec.name, "v_commit": spec.commit} for spec in specs]
    if rows:
        writer.execute(
            sa.update(bundles).where(_SAME).values(commit=sa.bindparam("v_commit")), rows
        )


def delete_bundles(writer: Writer, workspace: Workspace, names: Collection[BundleName]) -> None:
    """Delete bundles. Their deployments become tombstones with the next reconcile."""
    b = bundles.c
    for part in in_parts(sorted(names)):
        writer.execute(sa.delete(bundles).where(b.workspace == workspace, b.name.in_(part)))


def set_bundle_repo(writer: Writer, workspace: Workspace, name: BundleName, repo: str) -> None:
    """Assign a bundle and its deployments to another GitRepo."""
    b, d = bundles.c, deployments.c
    writer.execute(
        sa.update(bundles).where(b.workspace == workspace, b.name == name).values(repo=repo)
    )
    writer.execute(
        sa.update(deployments).where(d.workspace == workspace, d.bundle == name).values(repo=repo)
    )


def rename_bundle(
    writer: Writer, workspace: Workspace, old: BundleName, spec: BundleSpec, release: str
) -> None:
    """Store bundle `old` as `spec`, which has the new name. `release`: the Helm release that its
    clusters keep.
    """
    b = bundles.c
    writer.execute(
        sa.update(bundles)
        .where(b.workspace == workspace, b.name == old)
        .values(name=spec.name, release=release, spec=msgspec.json.encode(spec))
    )


def rename_in_other_tables(
    writer: Writer, workspace: Workspace, old: BundleName, new: BundleName
) -> None:
    """Rename a bundle in every other table with a `bundle` column, except its deployments. Rows of
    an earlier bundle with the new name are deleted.
    """
    for table in metadata.sorted_tables:
        if table.name in _NOT_RENAMED or not {"workspace", "bundle"} <= set(table.c.keys()):
            continue
        here = table.c.workspace == workspace
        writer.execute(sa.delete(table).where(here, table.c.bundle == new))
        writer.execute(sa.update(table).where(here, table.c.bundle == old).values(bundle=new))


def update_revision_specs(
    writer: Writer, workspace: Workspace, name: BundleName, specs: Iterable[tuple[int, BundleSpec]]
) -> None:
    """Replace the specs of revisions of a bundle, each with its number."""
    r = revisions.c
    rows = [{"i": number, "v_spec": msgspec.json.encode(spec)} for number, spec in specs]
    if rows:
        update = sa.update(revisions).where(
            r.workspace == workspace, r.bundle == name, r.number == sa.bindparam("i")
        )
        writer.execute(update.values(spec=sa.bindparam("v_spec")), rows)
