"""A plan says what then happens: random fleets, a random change in Git, the plan of it, and then
the change itself.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetctl.core.model.ids import BundleName, ClusterId, Workspace
from fleetctl.core.rollout.impact import BUNDLES, Plan, What
from manager.store.commands.pins import pin_clusters
from manager.store.schema import bundles, deployments
from tests.support.depth import depth
from tests.support.pages.plans import SPACE, World

ENVS = ("dev", "test", "prod")
NAMES = ("api", "db", "web")
envs = st.sampled_from(ENVS)
selectors = st.sets(envs, min_size=1).map(
    lambda found: {"matchExpressions": [{"key": "env", "operator": "In", "values": sorted(found)}]}
)
strategies = st.sampled_from(["", "rolloutStrategy: {maxUnavailable: 1}\n"])


@st.composite
def bundle(draw: st.DrawFn) -> dict[str, str]:
    """The files of one bundle, by their path in it."""
    value, own = draw(st.integers(0, 1)), draw(st.integers(0, 2))
    lines = [
        draw(strategies),
        f"labels: {{v: 'l{draw(st.integers(0, 1))}'}}\n",
        f"paused: {str(draw(st.booleans())).lower()}\n",
    ]
    lines.append(f"namespaceLabels: {{v: 'n{own}'}}\n" if own else "")
    lines.append(
        f"overrideTargets: [{{name: some, clusterSelector: {draw(selectors)!r}}}]\n"
        if draw(st.booleans())
        else ""
    )
    if draw(st.booleans()):
        changed = f"namespaceLabels: {{c: 'c{draw(st.integers(0, 1))}'}}"
        lines.append(
            f"targetCustomizations: [{{name: c, clusterSelector: {draw(selectors)!r},"
            f" {changed}}}]\n"
        )
    lines.append(
        "diff: {comparePatches: [{apiVersion: v1, kind: ConfigMap, name: m, jsonPointers:"
        " [/data]}]}\n"
        if draw(st.booleans())
        else ""
    )
    return {
        "m.yaml": (
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{v: '{value}'}}\n"
        ),
        "fleet.yaml": "".join(lines),
    }


repos = st.dictionaries(st.sampled_from(NAMES), bundle(), min_size=1).map(
    lambda found: {
        f"{name}/{path}": text for name, files in found.items() for path, text in files.items()
    }
)
fleets = st.lists(envs, min_size=1, max_size=6)
_COLUMNS = (
    "archive",
    "options_digest",
    "options_key",
    "target",
    "customization",
    "bundle_facts",
    "generation",
    "is_removed",
    "staged_key",
    "removal_held",
)


def _rows(world: World) -> dict[tuple[str, str], Any]:
    d = deployments.c
    query = sa.select(d.cluster_id, d.bundle, *(d[name] for name in _COLUMNS))
    return {
        (row.cluster_id.removeprefix("id-"), row.bundle): row
        for row in world.connection.execute(query)
    }


def _said(plan: Plan) -> dict[tuple[str, str], tuple[What, bool]]:
    found = {
        (name, impact.bundle): (group.what, group.held not in {"", BUNDLES})
        for impact in plan.bundles
        for group in impact.groups
        for name in group.names
    }
    assert len(found) == sum(group.clusters for impact in plan.bundles for group in impact.groups)
    return found


def _happened(
    before: dict[tuple[str, str], Any], after: dict[tuple[str, str], Any]
) -> dict[tuple[str, str], tuple[What, bool]]:
    """What each cluster was told, or is held to be told, that it was not before."""
    found: dict[tuple[str, str], tuple[What, bool]] = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        never = old is not None and old.generation == 0  # staged, and told nothing yet
        if new is None or new.is_removed:
            if old is not None and not old.is_removed:
                found[key] = (What.TOLD if never else What.REMOVED), False
        elif old is None or old.is_removed:
            found[key] = What.ADDED, False
        elif new.removal_held and not old.removal_held:
            found[key] = What.REMOVED, True
        # that something is not held any more is nothing that its cluster is told
        elif tuple(new)[:-1] != tuple(old)[:-1]:
            again = bool(new.staged_key) or new.generation != old.generation
            found[key] = (What.ADDED if never else What.CHANGED if again else What.TOLD), False
    return found


def _pin(world: World, name: BundleName, *, by_cluster: bool) -> None:
    """To the revision of now, if there is the bundle: for all, or for one cluster."""
    generation = world.connection.execute(
        sa.select(bundles.c.generation).where(bundles.c.name == name)
    ).scalar()
    if generation and by_cluster:
        pin_clusters(
            world.connection, (Workspace(SPACE), name), [ClusterId("id-c0")], generation, 1
        )
    elif generation:
        world.connection.execute(
            sa.update(bundles)
            .where(bundles.c.name == name)
            .values(pinned_revision=generation, pin_reason="it leaks")
        )


@settings(max_examples=depth(25, 200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fleets,
    st.tuples(repos, repos, repos),
    st.sets(st.sampled_from(NAMES)),
    st.booleans(),
    st.booleans(),
)
def test_a_plan_is_what_then_happens(
    fleet: list[str],
    commits: tuple[dict[str, str], ...],
    pinned: set[str],
    settled: bool,
    scheduled: bool,
) -> None:
    """Every (cluster, bundle) that the plan names, in the way it names it, and no other; planned
    again, nothing is left. Also of bundles that are pinned, for all or for one cluster, under a
    Schedule, and while an earlier commit is still on its way.
    """
    world = World()
    try:
        world.clusters([(f"c{n}", {"env": env}, {}) for n, env in enumerate(fleet)])
        repo = world.repo(paths=["*"])
        world.take(world.scanned(commits[0], repo), repo)
        world.settle()
        for at, name in enumerate(sorted(pinned)):
            _pin(world, BundleName(f"apps-{name}"), by_cluster=at % 2 == 1)
        if scheduled:
            world.schedule(
                "nightly",
                {
                    "schedule": "0 2 * * *",
                    "duration": "1h",
                    "targets": {"clusters": [{"clusterName": "c1"}]},
                },
            )
        world.take(world.scanned(commits[1], repo), repo)
        if settled:
            world.settle()
        before = _rows(world)
        taken = world.scanned(commits[2], repo)
        plan = world.plan(taken, repo)
        assert _rows(world) == before, "a plan stored something"
        gone = plan.removals.bundles
        held = world.take(taken, repo)
        causes = {group.held for impact in plan.bundles for group in impact.groups} - {""}
        assert bool(plan.removals.held) == bool(held or causes - {BUNDLES})
        assert held or BUNDLES not in causes
        if held:
            world.take(taken, repo, confirmed=(len(gone), taken.commit))
        after = _rows(world)
        assert _happened(before, after) == _said(plan)
        assert not world.plan(taken, repo).changes
        # What is held from now on would be lost.
        left = {
            key[0]
            for key, row in after.items()
            if not row.is_removed and not (row.removal_held and not before[key].removal_held)
        }
        had = {key[0] for key, row in before.items() if not row.is_removed}
        assert set(plan.removals.emptied) == had - left
        count = sa.select(sa.func.count()).select_from(bundles).where(bundles.c.workspace == SPACE)
        assert world.connection.execute(count).scalar_one() == plan.unchanged + sum(
            i.what is not What.REMOVED for i in plan.bundles
        )
    finally:
        world.close()
