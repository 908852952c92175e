"""Which bundle of this agent has which release. Reads the journal only."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from fleetctl.core.model.errors import OwnershipConflict
from fleetctl.core.model.ids import BundleName
from fleetctl.core.model.wire import Desired, DesiredBundle
from fleetctl.tools.helm import Release

from ..release.ownership import OwnershipClaim
from ..release.parts import releases_of
from ..state.journal import Entry

if TYPE_CHECKING:
    from .context import ReleaseContext


def former_of(entry: Entry) -> list[Release]:
    """The releases that the bundle had under other names and that still exist."""
    return [Release(name, namespace) for name, namespace in entry.former]


def has_release(entry: Entry | None, release: Release) -> bool:
    """Whether the entry's main release is `release`."""
    return entry is not None and (entry.release, entry.namespace) == (
        release.name,
        release.namespace,
    )


def holders(
    context: ReleaseContext, *, without: BundleName | None = None
) -> dict[Release, BundleName]:
    """Every release of this agent, former ones too, and the bundle that has it. The bundle
    `without` does not count.
    """
    entries = [e for e in context.journal.entries.values() if e.bundle != without]
    former = {release: e.bundle for e in entries for release in former_of(e)}
    return former | {release: e.bundle for e in entries for release in releases_of(e)}


def leaving_bundles(document: Desired) -> set[BundleName]:
    """The bundles that are to be removed."""
    return {tombstone.name for tombstone in document.tombstones}


def claim_of(
    context: ReleaseContext, document: Desired, bundle: DesiredBundle, release: Release
) -> OwnershipClaim:
    """What the bundle may take for its release. Of two bundles that name one release, the earlier
    one has it.
    """
    return OwnershipClaim(
        bundle.name,
        release,
        holders(context) | holders(context, without=bundle.name),
        leaving_bundles(document),
        may_take=bool(bundle.options.helm and bundle.options.helm.take_ownership),
    )


def refuse_conflict(
    context: ReleaseContext,
    bundle: DesiredBundle,
    release: Release,
    leaving: Collection[BundleName],
) -> None:
    """Of two bundles that claim one release the first keeps it, unless it is to be removed. Raises
    OwnershipConflict for the second.
    """
    holder = holders(context, without=bundle.name).get(release)
    if holder is not None and (holder not in leaving or context.journal.entries[holder].removing):
        step = "Give one of them another helm.releaseName or namespace."
        raise OwnershipConflict(
            f"{release} belongs to bundle {holder} already",
            subject=f"bundle {bundle.name}",
            next_step=step,
        )


def predecessor(
    context: ReleaseContext, release: Release, leaving: Collection[BundleName]
) -> Entry | None:
    """The entry that has the release under a bundle name that is to be removed: the bundle was
    renamed. Its objects keep their parts, and the fields of others in them stay as they are.
    """
    holder = holders(context).get(release)
    if holder is None or holder not in leaving:
        return None
    entry = context.journal.entries.get(holder)
    if entry is None or entry.removing or not has_release(entry, release):
        return None
    return entry
