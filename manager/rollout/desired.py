"""Computes what bundles mean for clusters: the options, digests and flags that each should
receive. Reads only; nothing is stored here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from fleetctl.core.model import options as opts
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.cluster import Cluster, Group
from fleetctl.core.model.ids import Digest, Workspace
from fleetctl.core.model.options import DownstreamResource, Options
from fleetctl.core.model.plan import Key, Want

from ..revisions import pins
from ..security.secret_sealing import sources, version_of
from ..store import Reader
from ..store.queries.objects import SealedRow

Sources = Mapping[tuple[str, str], SealedRow]


@dataclass(frozen=True)
class DesiredFacts:
    """What the store knows beside the bundles: the `orders` that follow from pins, and the Secrets
    and ConfigMaps that bundles copy to clusters (`sources`).
    """

    orders: list[pins.Order]
    sources: Sources


@dataclass(frozen=True)
class DesiredDeployments:
    """`wants`: what each deployment should be; `specs`: the bundles as they count for that, pinned
    ones with the content of their revision; `texts`: the JSON of the options by key.
    """

    specs: list[BundleSpec]
    wants: dict[Key, Want]
    texts: dict[str, bytes] = field(default_factory=dict)


def find_deployments(
    reader: Reader,
    workspace: Workspace,
    bundles: list[BundleSpec],
    fleet: Sequence[Cluster],
    groups: Sequence[Group],
) -> DesiredDeployments:
    """Return what the clusters of `fleet` should receive when the workspace has these `bundles`. A
    plan calls this for bundles that are not stored.
    """
    return compute_desired(gather_desired(reader, workspace, bundles, fleet), fleet, groups)


def gather_desired(
    reader: Reader, workspace: Workspace, bundles: list[BundleSpec], fleet: Sequence[Cluster]
) -> DesiredFacts:
    """Read the pins and the copied objects of the bundles."""
    orders = pins.orders(reader, workspace, bundles, fleet)
    return DesiredFacts(
        orders, find_copied_objects(reader, workspace, [order.spec for order in orders])
    )


def compute_desired(
    facts: DesiredFacts, fleet: Sequence[Cluster], groups: Sequence[Group]
) -> DesiredDeployments:
    """Match the orders with the fleet; a later order replaces an earlier one."""
    wants: dict[Key, Want] = {}
    texts: dict[str, bytes] = {}
    for order in facts.orders:
        # A thousand clusters with the same options cost one digest.
        wants_by_options: dict[tuple[int, str, str], Want] = {}
        for match in order.matches(fleet, groups):
            key = (id(match.options), match.target, match.customization)
            if key not in wants_by_options:
                names = (match.target, match.customization)
                wants_by_options[key] = want_of(order, names, match.options, texts, facts.sources)
            wants[match.cluster.id, order.spec.name] = wants_by_options[key]
    specs = [order.spec for order in facts.orders if order.only is None]
    return DesiredDeployments(specs, wants, texts)


def find_copied_objects(
    reader: Reader, workspace: Workspace, specs: Iterable[BundleSpec]
) -> Sources:
    """Return the Secrets and ConfigMaps that the bundles copy to clusters."""
    resources = [resource for spec in specs for resource in downstream_resources(spec)]
    return sources(reader, workspace, resources) if resources else {}


def downstream_resources(spec: BundleSpec) -> list[DownstreamResource]:
    """Return the resources that a bundle copies to some cluster, with duplicates."""
    targets = (*spec.targets, *spec.customizations)
    return [
        resource
        for options in (spec.options, *(target.options for target in targets))
        if options.downstream_resources
        for resource in opts.downstream_of(options)
    ]


def encode_bundle_facts(spec: BundleSpec) -> str:
    """Return what agents receive of a bundle beside its options, as JSON."""
    return msgspec.json.encode([spec.labels, spec.depends_on, spec.paused]).decode()


def want_of(
    order: pins.Order,
    names: tuple[str, str],
    options: Options,
    texts: dict[str, bytes],
    copied_objects: Sources,
) -> Want:
    """Return what a cluster with these options should receive. `names`: of target and
    customization. Stores the options' JSON in `texts`. A changed content of a copied object is
    deployed again like changed options.
    """
    spec = order.spec
    text = opts.to_json(options)
    key = hashlib.sha256(text).hexdigest()
    texts[key] = text
    digest = opts.digest(options)
    version = version_of(opts.downstream_of(options), copied_objects)
    if version:
        digest = Digest(hashlib.sha256(f"{digest}\n{version}".encode()).hexdigest())
    return Want(
        archive=spec.archive,
        options_digest=digest,
        options_key=key,
        size=spec.size,
        target=names[0],
        customization=names[1],
        commit=spec.commit,
        keep_resources=bool(options.keep_resources),
        bundle_facts=encode_bundle_facts(spec),
        decision=order.decision,
    )
