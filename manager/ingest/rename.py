"""Gives a bundle another name, or another GitRepo, together with its history and its releases.

Rule: a bundle that moves goes on as what it was. Its revisions, decisions, pins, rollout and holds
go with it, and so does what each cluster received: the same content and options, with the Helm
release written into them. Each cluster receives both at once, the bundle under its new name and a
tombstone for the old one; its agent sees one release under two names, upgrades it in place and
gives the old name up (agent/loops/decide.py). That changes no object, so it happens on all clusters
at once; what else the commit changes goes through the rollout.
"""

from __future__ import annotations

import hashlib

import msgspec

from fleetctl.core.model import options as opts
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.options import Options
from fleetctl.core.scan.renames import BundleMove, keeping

from ..security.secret_sealing import sources, version_of
from ..store import Writer
from ..store.commands.bundles import (
    rename_bundle,
    rename_in_other_tables,
    set_bundle_repo,
    update_revision_specs,
)
from ..store.commands.deployments import insert_options
from ..store.commands.documents import mark_documents_changed
from ..store.commands.ingest.gitrepos import require_scan
from ..store.commands.ingest.moves import (
    bury_renamed_deployments,
    copy_deployments,
    delete_completed_move,
    delete_deployments_of_bundle,
    delete_handed_over,
)
from ..store.commands.rollout.rollouts import mark_rollouts
from ..store.keys import Dirty
from ..store.queries import next_generation
from ..store.queries.bundles import bundle_to_rename, owners_of, revision_specs
from ..store.queries.deployments import options_texts
from ..store.queries.ingest.moves import (
    OptionsKey,
    clusters_with_deliveries,
    options_of_deployments,
)


def hand_over(writer: Writer, workspace: Workspace, name: BundleName, repo: str) -> None:
    """Assign the bundle to another GitRepo. Both GitRepos are scanned again."""
    owner = owners_of(writer, workspace, [name])[name]
    set_bundle_repo(writer, workspace, name, repo)
    require_scan(writer, workspace, {owner, repo})
    delete_handed_over(writer, workspace, name)


def rename(
    writer: Writer, workspace: Workspace, move: BundleMove, repo: str, now: str
) -> set[ClusterId]:
    """Give the bundle its new name, in the GitRepo `repo`. Returns the clusters whose documents
    changed.
    """
    old, new = move.old, move.new
    bundle = bundle_to_rename(writer, workspace, old)
    if bundle.repo != repo:
        hand_over(writer, workspace, old, repo)
    release = bundle.release or old
    rename_bundle(writer, workspace, old, _rename_spec(bundle.spec, new, release), release)
    rename_in_other_tables(writer, workspace, old, new)
    specs = [
        (number, _rename_spec(spec, new, release))
        for number, spec in revision_specs(writer, workspace, new)
    ]
    update_revision_specs(writer, workspace, new, specs)
    changed_clusters = _rename_deployments(writer, workspace, (old, new), release)
    mark_documents_changed(writer, changed_clusters, now)
    delete_completed_move(writer, workspace, old, new)
    mark_rollouts(writer, workspace, [new], Dirty.PARTITIONS)
    return changed_clusters


def _rename_spec(spec: BundleSpec, name: BundleName, release: str) -> BundleSpec:
    return msgspec.structs.replace(spec, name=name, options=keeping(spec.options, release))


def _rename_deployments(
    writer: Writer, workspace: Workspace, names: tuple[BundleName, BundleName], release: str
) -> set[ClusterId]:
    """Copy the deployments to the new name, and leave tombstones under the old one where a cluster
    received anything.
    """
    old, new = names
    delete_deployments_of_bundle(writer, workspace, new)
    generation = next_generation(writer)
    for options in options_of_deployments(writer, workspace, old):
        new_key = _keep_release(writer, workspace, options, release)
        copy_deployments(writer, workspace, names, (options, new_key), generation)
    bury_renamed_deployments(writer, workspace, old, next_generation(writer))
    return clusters_with_deliveries(writer, workspace, new)


def _keep_release(
    writer: Writer, workspace: Workspace, options_key: OptionsKey, release: str
) -> OptionsKey:
    """Store the options with the release in them. The new digest is chosen so that nothing is
    deployed again.
    """
    options = msgspec.json.decode(
        options_texts(writer, [options_key.key])[options_key.key], type=Options
    )
    new_options = keeping(options, release)
    text = opts.to_json(new_options)
    key = hashlib.sha256(text).hexdigest()
    insert_options(writer, {key: text})
    if options_key.digest == opts.digest(options):
        return OptionsKey(key, opts.digest(new_options))
    resources = opts.downstream_of(options)
    version = version_of(resources, sources(writer, workspace, resources))
    digest = hashlib.sha256(f"{opts.digest(new_options)}\n{version}".encode()).hexdigest()
    return OptionsKey(key, digest)
