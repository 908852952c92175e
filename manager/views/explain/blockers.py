"""Lists what people have put in a deployment's way, and how it ends: pauses, pins, removals that
wait for confirmation.
"""

from __future__ import annotations

import msgspec

from fleetctl.core.explain.deployment import Stop
from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.rollout.decide import Phase

from ...reconcile import held_removals as holds
from ...store.connection import Reader
from ...store.keys import BundleKey
from ...store.queries import paused_repos
from ...store.queries.audit_log import find_decision, last_decision
from ...store.queries.clusters import ClusterRow
from ...store.queries.deployments import DeploymentRow
from ...store.queries.ingest.gitrepos import list_scans
from ...store.queries.pins import (
    PinOrigin,
    count_cluster_pins,
    find_bundle_pin,
    find_cluster_pin,
)
from ...store.queries.rollouts import find_rollout
from ..removals import held as held_removals


def list_pauses(reader: Reader, spec: BundleSpec, cluster: ClusterRow | None = None) -> list[Stop]:
    """The pause of the GitRepo, of the bundle in fleet.yaml, of the cluster, of the rollout."""
    stops = [_bundle_pause(reader, spec)] if spec.paused else []
    stops += cluster_pauses(cluster) if cluster is not None else []
    rollout = find_rollout(reader, (spec.workspace, spec.name))
    if rollout is not None and rollout.phase == Phase.PAUSED.value:
        decision = last_decision(reader, spec.workspace, spec.name, "pause")
        stops.append(
            Stop(
                what=f"rollout {spec.name}",
                why=rollout.reason,
                who=decision.person if decision else "",
                since=decision.decided_at if decision else "",
                command=f"fleetctl rollout resume {spec.name}",
            )
        )
    return stops


def _bundle_pause(reader: Reader, spec: BundleSpec) -> Stop:
    if spec.repo in paused_repos(reader, spec.workspace):
        return Stop(what=f"GitRepo {spec.repo}", command=f"fleetctl gitrepo resume {spec.repo}")
    file = f"{spec.path}/fleet.yaml" if spec.path else "fleet.yaml"
    return Stop(
        what=f"bundle {spec.name}",
        why=f"{file} has paused: true",
        command=f"take `paused` out of {file}",
    )


def cluster_pauses(cluster: ClusterRow) -> list[Stop]:
    if not msgspec.json.decode(cluster.spec).get("paused"):
        return []
    return [Stop(what=f"cluster {cluster.name}", command=f"fleetctl cluster resume {cluster.name}")]


def list_pins(reader: Reader, key: BundleKey, cluster: ClusterRow | None = None) -> list[Stop]:
    """The bundle's pin, then the cluster's own; without a cluster, how many clusters have one."""
    release = f"fleetctl rollback {key[1]} --release"
    stops = []
    if pin := find_bundle_pin(reader, *key):
        stops.append(_pin_stop(reader, key, pin, "bundle", release))
    if cluster is None:
        count = sum(row.clusters for row in count_cluster_pins(reader, *key))
        subject = f"{count} clusters are pinned to another revision"
        if count == 1:
            subject = "1 cluster is pinned to another revision"
        stops += [Stop(what=subject)] if count else []
    elif pin := find_cluster_pin(reader, *key, cluster.id):
        command = f"{release} --cluster {cluster.name}"
        stops.append(_pin_stop(reader, key, pin, "this cluster", command))
    return stops


def _pin_stop(reader: Reader, key: BundleKey, pin: PinOrigin, subject: str, command: str) -> Stop:
    decision = find_decision(reader, *key, pin.decision)
    commit = f" ({pin.commit[:7]})" if pin.commit else ""
    is_of_pin = decision is not None and decision.number == pin.revision
    return Stop(
        what=f"{subject} to revision {pin.revision}{commit}",
        why=pin.reason or (decision.reason if decision else ""),
        who=decision.person if decision and is_of_pin else "",
        since=decision.decided_at if decision and is_of_pin else "",
        command=command,
    )


def list_holds(
    reader: Reader, key: BundleKey, repo: str, deployment: DeploymentRow | None = None
) -> list[Stop]:
    """Removals that wait for confirmation: from the cluster of the deployment or from any, and of
    the bundle as a whole.
    """
    stops = []
    if deployment is None or deployment.removal_held:
        all_holds = holds.list_holds(reader, key[0])
        stops = [_hold_stop(hold) for hold in all_holds if hold.bundle == key[1]]
    return [*stops, *_scan_holds(reader, key, repo)]


def _hold_stop(hold: holds.RemovalHold) -> Stop:
    command = held_removals.confirm_command(hold)
    return Stop(what="a removal", why=hold.words, since=hold.since, command=command)


def _scan_holds(reader: Reader, key: BundleKey, repo: str) -> list[Stop]:
    """The removal of the bundle by the last scan of its GitRepo, if it waits."""
    scans = list_scans(reader, key[0], repo) if repo else []
    scan = scans[0] if scans else None
    removal = msgspec.json.decode(scan.held_removal) if scan else None
    if not removal or key[1] not in removal.get("bundles", []):
        return []
    moves = [move for move in removal.get("moves") or [] if move["from"] == key[1]]
    if moves:
        cause, command = moves[0]["message"], held_removals.move_command(moves[0])
    else:
        cause = f"{held_removals.describe_scan(removal)}, this one among them"
        command = held_removals.confirm_scan_command(repo, removal)
    return [Stop(what=f"GitRepo {repo}", why=cause, command=command)]
