"""What an agent says is the matter reaches its bundle and its GitRepo as it was said, with every
cluster counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fleetctl.core.model import wire
from fleetctl.core.model.status import Report, ResourceStatus, State
from manager.service import Service
from manager.store.schema import deployments
from tests.support.gitrepo import Clone
from tests.support.manager.silence import silence
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    ONE,
    Agents,
    files,
    first_commit,
    next_commit,
    plain,
    run,
    scanned_first,
    works,
)
from tests.support.waiting import until

HOUR = 3600.0


def fails(pod: str, hint: str = "") -> Callable[[wire.DesiredBundle], Report]:
    def answer(bundle: wire.DesiredBundle) -> Report:
        message = f"pod.v1 shop/{pod}: no such image"
        head = works(bundle)
        said = {
            "code": "tool-failed",
            "message": message,
            "object": f"pod.v1 shop/{pod}",
            "hint": hint,
        }
        return Report(
            bundle=bundle.name, generation=head.generation, state=State.ERR_APPLIED, **said
        )  # type: ignore[arg-type]

    return answer


def starts(bundle: wire.DesiredBundle) -> Report:
    resources = [
        ResourceStatus(
            api_version="apps/v1",
            kind="Deployment",
            name="web",
            namespace="shop",
            state="NotReady",
            message="0 of 1",
        ),
        ResourceStatus(api_version="v1", kind="Service", name="web", namespace="shop"),
    ]
    said = {
        "code": "not-ready",
        "message": "deployment.apps shop/web: 0 of 1",
        "object": "deployment.apps shop/web",
    }
    head = works(bundle)
    return Report(
        bundle=bundle.name,
        generation=head.generation,
        applied=head.applied,
        state=State.NOT_READY,
        resources=resources,
        **said,
    )  # type: ignore[arg-type]


async def status(service: Service, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await service.views.get_object(kind, "fleet-default", name))["status"]
    return found


async def begun(service: Service, agents: Agents, clone: Clone, *names: str) -> str:
    await agents.join(*names)
    commit = await first_commit(service, clone, plain(1))
    await agents.until_told(commit, len(names))
    return commit


def test_the_same_trouble_on_many_clusters_is_one_reason(tmp_path: Path, clone: Clone) -> None:
    """Pods have other names everywhere: all clusters are counted, the text is one agent's, and
    bundle and GitRepo say the same.
    """

    async def work(service: Service, agents: Agents) -> None:
        await begun(service, agents, clone, "a", "b", "c", "d")
        await agents.poll("a", answer=fails("web-7d9f8b6c5-x2x4z"))
        await agents.poll("b", answer=fails("web-6c8dbb6f4d-qqwwz"))
        await agents.poll("c", answer=starts)
        await agents.poll("d")
        bundle, repo = (
            await status(service, "Bundle", BUNDLE),
            await status(service, "GitRepo", "apps"),
        )
        first, second = bundle["reasons"]
        assert (first["state"], first["code"], first["count"]) == ("ErrApplied", "tool-failed", 2)
        assert first["cause"] in {
            "pod.v1 shop/web-7d9f8b6c5-x2x4z: no such image",
            "pod.v1 shop/web-6c8dbb6f4d-qqwwz: no such image",
        }
        assert first["object"] in first["cause"]
        assert first["hint"] == "correct the bundle"
        assert first["example"]["bundle"] == BUNDLE
        assert second == {
            "state": "NotReady",
            "code": "not-ready",
            "cause": "deployment.apps shop/web: 0 of 1",
            "object": "deployment.apps shop/web",
            "hint": "run `kubectl describe` for the object on that cluster",
            "count": 1,
            "example": {"cluster": "c", "bundle": BUNDLE},
        }
        assert repo["reasons"] == bundle["reasons"]
        assert repo["display"]["message"] == bundle["display"]["message"]
        shown = f"[Cluster fleet-default/{first['example']['cluster']}: {first['cause']}]"
        assert (
            bundle["display"]["message"]
            == f"ErrApplied(2) {shown}; NotReady(1) [Cluster fleet-default/c: {second['cause']}]"
        )
        assert bundle["resourceCounts"]["notReady"] == repo["resourceCounts"]["notReady"] == 1
        assert (await status(service, "Cluster", "c"))["resourceCounts"] == (
            await status(service, "BundleDeployment", f"c.{BUNDLE}")
        )["resourceCounts"]

    run(tmp_path / "m", work)


def test_the_agents_hint_is_shown_and_a_ready_deployment_has_no_reason(
    tmp_path: Path, clone: Clone
) -> None:
    """What the agent knows is more than what the code says."""

    async def work(service: Service, agents: Agents) -> None:
        await begun(service, agents, clone, "a", "b")
        waits = (await status(service, "BundleDeployment", f"a.{BUNDLE}"))["reason"]
        assert (waits["code"], waits["cause"]) == ("waiting", "sent, no report yet")
        await agents.poll("a", answer=fails("web", "give it an image"))
        await agents.poll("b")
        assert (await status(service, "BundleDeployment", f"a.{BUNDLE}"))["reason"] == {
            "code": "tool-failed",
            "cause": "pod.v1 shop/web: no such image",
            "object": "pod.v1 shop/web",
            "hint": "give it an image",
        }
        well = await status(service, "BundleDeployment", f"b.{BUNDLE}")
        assert (well["reason"], well["message"], well["display"]["state"]) == (None, "", "Ready")

    run(tmp_path / "m", work)


def test_an_error_of_an_older_generation_is_no_reason_any_more(
    tmp_path: Path, clone: Clone
) -> None:
    """A new commit is on its way to the cluster: what it said of the one before is history."""

    async def work(service: Service, agents: Agents) -> None:
        await begun(service, agents, clone, "a")
        await agents.poll("a", answer=fails("web"))
        second = await next_commit(service, clone, plain(2))
        await agents.until_told(second, 1)
        found = await status(service, "BundleDeployment", f"a.{BUNDLE}")
        assert (found["display"]["state"], found["reason"]["code"]) == ("WaitApplied", "waiting")
        assert (
            "no such image" not in (await status(service, "GitRepo", "apps"))["display"]["message"]
        )

    run(tmp_path / "m", work)


def test_who_is_silent_says_so_with_what_was_known_last(tmp_path: Path, clone: Clone) -> None:
    """Offline is never Ready, whatever was said before; who never enrolled is waited for."""

    async def work(service: Service, agents: Agents) -> None:
        await begun(service, agents, clone, "a", "b", "c")
        await agents.poll()
        await service.agents.register(
            "fleet-default", "new", labels={}, ttl_seconds=600, replace=False
        )
        silence(service._live, agents.ids["a"], HOUR)
        found = await status(service, "BundleDeployment", f"a.{BUNDLE}")
        assert found["display"]["state"] == "Offline"
        assert found["reason"]["cause"].endswith(
            f", last state Ready at generation {found['appliedGeneration']}"
        ), found
        bundle = await status(service, "Bundle", BUNDLE)
        assert [
            (r["state"], r["code"], r["count"], r["example"]["cluster"]) for r in bundle["reasons"]
        ] == [
            ("Offline", "offline", 1, "a"),
            ("Pending", "never-enrolled", 1, "new"),
        ]
        assert bundle["summary"] == {"ready": 2, "desiredReady": 4, "offline": 1, "pending": 1}
        assert (bundle["display"]["readyClusters"], bundle["display"]["state"]) == (
            "2/4",
            "Offline",
        )

    run(tmp_path / "m", work)


def test_who_is_held_says_what_the_rollout_waits_for(tmp_path: Path, clone: Clone) -> None:
    """The budget, with its numbers, as the decision gave it."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        await scanned_first(service, agents, clone, ONE)
        second = await next_commit(service, clone, files(2, ONE))
        await agents.until_told(second, 1)
        found = await until(
            lambda: status(service, "Bundle", BUNDLE), lambda s: len(s["reasons"]) == 2
        )
        held = next(r for r in found["reasons"] if r["code"] == "held")
        assert (held["state"], held["count"]) == ("OutOfSync", 2)
        assert held["cause"].startswith("1 of 3 clusters may be unavailable at once")
        assert held["hint"] == f"`fleetctl why {held['example']['cluster']} {BUNDLE}`"

    run(tmp_path / "m", work)


def test_no_number_of_deployments_hides_one(tmp_path: Path, clone: Clone) -> None:
    """A hundred that are NotReady, and one that failed: Fleet looks at ten, and would not see
    it.
    """
    names = [f"c{at:03}" for at in range(101)]

    async def work(service: Service, agents: Agents) -> None:
        await begun(service, agents, clone, *names)
        await asyncio.gather(*(agents.poll(name, answer=starts) for name in names[1:]))
        await agents.poll(names[0], answer=fails("web"))
        bundle = await status(service, "Bundle", BUNDLE)
        assert bundle["display"]["state"] == "ErrApplied"
        assert [(r["state"], r["count"]) for r in bundle["reasons"]] == [
            ("ErrApplied", 1),
            ("NotReady", 100),
        ]
        assert (bundle["resourceCounts"]["notReady"], bundle["resourceCounts"]["ready"]) == (
            100,
            100,
        )
        told = await service._store.read(
            lambda c: c.execute(sa.select(deployments.c.cause_key).distinct()).scalars().all()
        )
        assert len(told) == 2

    run(tmp_path / "m", work)
