"""A change of a bundle that reaches very many deployments is stored in batches, each in a
transaction of its own.

Rule: matching all clusters at once (manager/reconcile/reconcile.py) decides which clusters get a
bundle, and in which configuration, because only the whole shows whether too many would lose it. But
a new content for the same clusters changes nothing of that, and a bundle that no cluster has yet
removes nothing: these two go in batches. The first looks at no cluster: all deployments with the
same target and customization are told the same, in one statement. The rollout stands still until
the last batch is stored, and a restart goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.model.plan import Want
from fleetctl.core.targeting.target import outcomes, picking

from ..clock import rfc3339
from ..revisions import pins
from ..store import Reader, Writer, counts
from ..store.commands.documents import mark_documents_changed
from ..store.commands.rollout.batches import (
    delete_batches,
    insert_batches,
    insert_options,
    set_cursor,
    set_matched_targetings,
    show_kind,
    stage_kind,
)
from ..store.commands.rollout.rollouts import mark_rollouts
from ..store.commands.rollout.staged import insert_wants
from ..store.keys import KEPT, BundleKey, Dirty
from ..store.queries import Scope, bundle_specs
from ..store.queries.pins import clusters_with_pins
from ..store.queries.rollout import batches as queries
from ..store.queries.rollout.batches import DeploymentKind, RowRange
from ..store.queries.rollout.staged import wants_by_key
from . import staging
from .admission import MOST_DEPLOYMENTS
from .desired import find_copied_objects, want_of

# From this number of deployments on, a change goes in batches.
MANY_DEPLOYMENTS = 2000
# The methods of a batch.
ROWS, CLUSTERS = "rows", "clusters"


class Exact(Protocol):
    """`reconcile` of manager/reconcile/reconcile.py, a higher layer than this module."""

    def __call__(self, writer: Writer, scope: Scope, /, *, now: str) -> set[ClusterId]: ...


def put_off(writer: Writer, scope: Scope) -> Scope:
    """Store the bundles that go in batches, and return the scope without them."""
    if scope.bundles is None or scope.clusters is not None:
        return scope
    workspace = scope.workspace
    methods: dict[BundleName, str] = {}
    if not scope.wave:
        methods = _methods(writer, workspace, bundle_specs(writer, scope))
    delete_batches(writer, workspace, pending(writer, workspace, scope.bundles))
    insert_batches(writer, workspace, methods)
    names = [name for name in scope.bundles if name not in methods]
    return Scope(workspace, names, None, scope.wave)


def _methods(
    reader: Reader, workspace: Workspace, specs: Sequence[BundleSpec]
) -> dict[BundleName, str]:
    """The bundles whose change goes in batches, and the method of each. For all others only their
    number of clusters is read.
    """
    if not queries.has_many_clusters(reader, workspace, MANY_DEPLOYMENTS):
        return {}
    totals = counts.count_by_bundle(reader, workspace, [spec.name for spec in specs])
    methods = {spec.name: _method(reader, spec, totals.get(spec.name, 0)) for spec in specs}
    return {name: method for name, method in methods.items() if method}


def _method(reader: Reader, spec: BundleSpec, clusters: int) -> str:
    """The method for a bundle with so many clusters; "" if all changes are stored at once."""
    bundle = spec.workspace, spec.name
    if not clusters:  # it may still be removed from some
        return "" if queries.has_deployments(reader, bundle) else CLUSTERS
    if clusters < MANY_DEPLOYMENTS or _has_exceptions(reader, bundle):
        return ""
    targeting = queries.targeting_of_bundle(reader, bundle)
    order = _order(reader, spec)
    if targeting and targeting == _targeting(order, spec) and outcomes(order.spec) is not None:
        return ROWS
    return ""


def _has_exceptions(reader: Reader, bundle: BundleKey) -> bool:
    """Whether deployments are kept from a removal, or very many clusters have pins."""
    if any(count_key.partition == KEPT for count_key in counts.count_deployments(reader, *bundle)):
        return True
    return len(clusters_with_pins(reader, bundle, MOST_DEPLOYMENTS + 1)) > MOST_DEPLOYMENTS


def _order(reader: Reader, spec: BundleSpec) -> pins.Order:
    """What all clusters should receive of the bundle: an earlier revision if it is pinned."""
    return pins.orders(reader, spec.workspace, [spec], [])[0]


def _targeting(order: pins.Order, current: BundleSpec) -> str:
    """The digest by which deployments were matched, "" if the pinned revision makes other
    differences between clusters than Git does now. Which clusters get the bundle is always as Git
    says now, so only the customizations count.
    """
    if order.now is not None:
        blank = pins.content_of(current, current)
        if picking(order.spec) != picking(blank):
            return ""
    return picking(current)


def pending(reader: Reader, workspace: Workspace, names: Iterable[BundleName]) -> set[BundleName]:
    """Those of the bundles whose batches are not all stored."""
    return queries.pending_batches(reader, workspace, names)


def every(reader: Reader) -> list[BundleKey]:
    """The bundles whose batches are not all stored."""
    return queries.list_batches(reader)


def whole(writer: Writer, workspace: Workspace, specs: Sequence[BundleSpec]) -> None:
    """These bundles have been matched with all clusters."""
    current = {spec.name: spec for spec in specs}
    targetings = {
        order.spec.name: _targeting(order, current[order.spec.name])
        for order in pins.orders(writer, workspace, specs, [])
        if order.only is None
    }
    set_matched_targetings(writer, workspace, targetings)


class BatchResult(NamedTuple):
    """The clusters whose document changed, and the cursor of the next batch ("" after the last)."""

    clusters: set[ClusterId]
    cursor: str


def go_on(
    writer: Writer, place: BundleKey, now: float, exact: Exact
) -> tuple[set[ClusterId], bool]:
    """Store one more batch. Returns the clusters whose document changed, and whether there is more
    to do.
    """
    workspace, name = place
    batch = queries.find_batch(writer, place)
    spec = next(iter(bundle_specs(writer, Scope(workspace, [name]))), None)
    if batch is None or spec is None:
        delete_batches(writer, workspace, [name])
        return set(), False
    store = _store_rows if batch.method == ROWS else _store_clusters
    result = store(writer, spec, batch.cursor, rfc3339(now), exact)
    if result.cursor:
        set_cursor(writer, place, result.cursor)
        return result.clusters, True
    delete_batches(writer, workspace, [name])
    whole(writer, workspace, [spec])
    mark_rollouts(writer, workspace, [name], Dirty.PARTITIONS)
    return result.clusters, False


def _store_clusters(
    writer: Writer, spec: BundleSpec, cursor: str, now: str, exact: Exact
) -> BatchResult:
    """Match the next clusters with the bundle."""
    ids = queries.clusters_after(writer, spec.workspace, cursor, MOST_DEPLOYMENTS)
    if not ids:
        return BatchResult(set(), "")
    clusters = exact(writer, Scope(spec.workspace, [spec.name], ids), now=now)
    return BatchResult(clusters, ids[-1] if len(ids) == MOST_DEPLOYMENTS else "")


def _store_rows(
    writer: Writer, spec: BundleSpec, cursor: str, now: str, exact: Exact
) -> BatchResult:
    """Stage the new content for the next rows. The staged version of a row is newer than what its
    cluster received, which may be from before its labels changed.
    """
    bundle = spec.workspace, spec.name
    after = int(cursor or 0)
    end = queries.end_of_batch(writer, bundle, after, MOST_DEPLOYMENTS)
    rows = RowRange(bundle, after, 2**62 if end is None else end)
    wants = store_wants(writer, spec)
    clusters: set[ClusterId] = set()
    if not cursor:
        clusters |= _match(
            writer, spec, clusters_with_pins(writer, bundle, MOST_DEPLOYMENTS), now, exact
        )
    staged_rows = 0
    for kind in queries.deployment_kinds(writer, rows):
        want = _want_of_kind(writer, wants, kind)
        if want is None:  # the version no longer exists: these are matched again
            ids = queries.clusters_of_kind(writer, rows, kind)
            clusters |= _match(writer, spec, ids, now, exact)
            continue
        staged_rows += stage_kind(writer, rows, kind, want)
        clusters |= show_kind(writer, rows, kind, want)
    if staged_rows:
        staging.begin_rollouts(writer, spec.workspace, [_order(writer, spec).spec], now)
    mark_documents_changed(writer, clusters, now)
    return BatchResult(clusters, "" if end is None else str(end))


def _match(
    writer: Writer, spec: BundleSpec, ids: Sequence[ClusterId], now: str, exact: Exact
) -> set[ClusterId]:
    if not ids:
        return set()
    return exact(writer, Scope(spec.workspace, [spec.name], ids), now=now)


def _want_of_kind(
    reader: Reader, wants: dict[tuple[str, str], Want], kind: DeploymentKind
) -> Want | None:
    """What the deployments of a kind should receive; None if it cannot be known."""
    names = kind.target, kind.customization
    if kind.staged_key:
        version = wants_by_key(reader, [kind.staged_key]).get(kind.staged_key)
        if version is None:
            return None
        names = version.target, version.customization
    return wants.get(names)


def store_wants(writer: Writer, spec: BundleSpec) -> dict[tuple[str, str], Want]:
    """Store what clusters should receive of the bundle, with the options. Returns it by the names
    of target and customization.
    """
    texts: dict[str, bytes] = {}
    order = _order(writer, spec)
    sources = find_copied_objects(writer, spec.workspace, [order.spec])
    wants = {
        names: want_of(order, names, options, texts, sources)
        for names, options in (outcomes(order.spec) or {}).items()
    }
    insert_options(writer, texts)
    insert_wants(writer, wants.values())
    return wants


def count_waiting(writer: Writer, spec: BundleSpec) -> int:
    """The number of clusters that will receive another version when all batches are stored, without
    clusters with their own pin.
    """
    bundle = spec.workspace, spec.name
    return sum(
        queries.count_other_versions(writer, bundle, DeploymentKind("", *names), want)
        for names, want in store_wants(writer, spec).items()
    )
