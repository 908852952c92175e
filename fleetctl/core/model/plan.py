"""What must change so that each cluster is told what its bundles say now.

Rule: a deployment gets a new generation when its archive or its options change (`diff` and
`correctDrift` aside), and only then; what no bundle wants any more becomes a tombstone, which stays
until the agent has reported it done. Generations come from one counter that never goes back, so a
bundle that is removed and comes again is never older than before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from fleetctl.core.model.ids import BundleName, ClusterId, Digest, Generation

Key = tuple[ClusterId, BundleName]


# gc=False: they hold nothing that could be a circle, and a pass makes a million of them.
class Want(msgspec.Struct, frozen=True, gc=False):
    """One BundleDeployment as the bundle says. `options_key` identifies the whole options,
    `options_digest` what redeploys.
    """

    archive: Digest
    options_digest: Digest
    options_key: str
    size: int = 0
    target: str = ""
    customization: str = ""
    commit: str = ""
    keep_resources: bool = False
    # JSON: labels, dependencies and pause of the bundle, which the agent needs besides
    bundle_facts: str = msgspec.field(default="", name="shown")
    decision: int = 0  # by which it should be so: a commit, a rollback


class Have(msgspec.Struct, frozen=True, gc=False):
    """One BundleDeployment as it is stored: what its cluster was told. `generation` 0: nothing yet;
    below 0: it was told to remove it, and that was taken back. `staged`: the key of the Want that a
    rollout holds back, or "".
    """

    generation: Generation
    archive: Digest
    options_digest: Digest
    options_key: str
    target: str = ""
    customization: str = ""
    keep_resources: bool = False
    removed: bool = False
    bundle_facts: str = ""
    staged: str = ""


class Change(msgspec.Struct, frozen=True, gc=False):
    """`want` None is a tombstone. `redeploy`: the generation grows. `tells`: the cluster's document
    is another one when this is stored.
    """

    key: Key
    want: Want | None
    redeploy: bool
    tells: bool = True


def decide(desired_state: Mapping[Key, Want], have: Mapping[Key, Have]) -> list[Change]:
    """The differences, sorted by cluster and bundle. Deciding again after they are stored gives
    none.
    """
    changes: list[Change] = []
    # thousands share one Want and one Have
    memo: dict[tuple[int, int], tuple[bool, bool] | None] = {}
    for key, want in desired_state.items():
        old = have.get(key)
        pair = id(want), id(old)
        if pair not in memo:
            memo[pair] = _difference(want, old)
        if (flags := memo[pair]) is not None:
            changes.append(Change(key, want, *flags))
    lost_deployments = (
        (key, old) for key, old in have.items() if key not in desired_state and not old.removed
    )
    changes += [
        Change(key, None, redeploy=True, tells=old.generation != 0) for key, old in lost_deployments
    ]
    return sorted(changes, key=lambda change: change.key)


def clusters_of(changes: Iterable[Change]) -> set[ClusterId]:
    """Those that are told something other by these changes."""
    return {change.key[0] for change in changes if change.tells}


def key_of(want: Want) -> str:
    """What a rollout that holds it back knows it by."""
    return hashlib.sha256(msgspec.json.encode(want)).hexdigest()[:32]


def _difference(want: Want, old: Have | None) -> tuple[bool, bool] | None:
    """(redeploys, tells) of the change that is needed, or None."""
    if not _differs(want, old):
        return None
    redeploy = _redeploys(want, old)
    return redeploy, redeploy or old is None or (want.options_key, want.bundle_facts) != (
        old.options_key,
        old.bundle_facts,
    )


def _redeploys(want: Want, old: Have | None) -> bool:
    return (
        old is None
        or old.removed
        or old.generation < 1
        or (want.archive, want.options_digest) != (old.archive, old.options_digest)
    )


def _differs(want: Want, old: Have | None) -> bool:
    if old is not None and old.staged and not old.removed:
        return not _redeploys(want, old) or key_of(want) != old.staged
    if old is None or _redeploys(want, old):
        return True
    now = (
        want.options_key,
        want.target,
        want.customization,
        want.keep_resources,
        want.bundle_facts,
    )
    return now != (
        old.options_key,
        old.target,
        old.customization,
        old.keep_resources,
        old.bundle_facts,
    )


# Removing more than this share of a repository's bundles at once is held for a person.
HELD_SHARE, HELD_LEAST = 0.2, 5


def too_many(removals: int, of: int) -> bool:
    """I7: more than max(5, 20 %) of a repository's bundles."""
    return removals > max(HELD_LEAST, of * HELD_SHARE)
