"""A removal that an agent cannot finish is shown where people look: on the GitRepo, in the status,
by `why`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.model import wire
from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.status import Report, State
from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, desired, scanned
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    MAP,
    Agents,
    first_commit,
    plain,
    run,
    works,
)
from tests.support.waiting import until

CAUSE = "ConfigMap shop/a: webhook check.example.com does not answer"


async def answer(service: Service, agents: Agents, name: str, *, code: str) -> None:
    """The agent's answer to its tombstone."""
    document = await desired(service, agents.ids[name])
    (tombstone,) = document.tombstones
    state = State.NOT_READY if code == "removing" else State.ERR_APPLIED
    said = {
        "code": code,
        "message": CAUSE,
        "object": "ConfigMap shop/a",
        "hint": "Repair the webhook.",
    }
    report = Report(bundle=tombstone.name, generation=tombstone.generation, state=state, **said)  # type: ignore[arg-type]
    agents._seq += 1
    request = wire.StatusRequest(
        instance=f"i-{name}", seq=agents._seq, full=True, deployments=[report]
    )
    await service.agents.report(agents.ids[name], request)


def test_a_stuck_removal_is_told_everywhere(tmp_path: Path, clone: Clone) -> None:
    """With its cause, its clusters, its hint; one that is on its way is not called stuck."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        commit = clone.push(plain(1) | {"other/m.yaml": MAP.format(value=1)})
        await add(service, clone.url, paths=["*"])
        await scanned(service, commit)
        await agents.until_told(commit, 2)
        await agents.poll()
        await gone(service, clone)
        assert (await why(service, "a"))["next"]["text"].startswith("nothing: the agent removes it")
        await answer(service, agents, "a", code="removing")
        await answer(service, agents, "b", code="webhook")
        found = await why(service, "b")
        assert (found["about"], found["state"], found["ready"]) == ("deployment", "Removing", False)
        assert {line["text"] for line in found["lines"]} >= {f"{CAUSE} (b)", "ConfigMap shop/a"}
        assert found["next"]["text"] == "Repair the webhook."
        whole = await why(service, "")
        assert (whole["about"], whole["clusters"]) == ("bundle", 2)
        assert whole["next"]["command"] == f"fleetctl why b {BUNDLE}"
        repo = (await service.views.get_object("GitRepo", "fleet-default", "apps"))["status"]
        assert (
            f"the removal of bundle {BUNDLE} is stuck on cluster b: {CAUSE}"
            in repo["display"]["message"]
        )
        assert [one["code"] for one in repo["removals"]] == ["webhook"]
        overview = await service.views.status("fleet-default")
        (line,) = [one for one in overview["attention"] if one["name"] == BUNDLE]
        assert (line["state"], line["count"], line["next"]) == (
            "ErrApplied",
            1,
            f"fleetctl why b {BUNDLE}",
        )
        with pytest.raises(NotFound):
            await service.views.explain("fleet-default", cluster="a", bundle="never-there", name="")

    run(tmp_path / "m", work)


def test_a_ready_deployment_shows_how_it_was_applied(tmp_path: Path, clone: Clone) -> None:
    """Code, object and field of the agent's warning; the bundle stays Ready."""

    def warns(bundle: wire.DesiredBundle) -> Report:
        head = works(bundle)
        said = {
            "code": "client-side",
            "message": "applied client-side, because …: x",
            "object": "Deployment shop/web",
        }
        return Report(
            bundle=bundle.name,
            generation=head.generation,
            applied=head.applied,
            state=State.READY,
            ready=True,
            **said,
        )  # type: ignore[arg-type]

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        commit = await first_commit(service, clone, plain(1))
        await agents.until_told(commit, 1)
        await agents.poll(answer=warns)
        found = await why(service, "a")
        assert (found["state"], found["ready"], found["reason"]["code"]) == (
            "Ready",
            True,
            "client-side",
        )
        status = (
            await service.views.get_object("BundleDeployment", "fleet-default", f"a.{BUNDLE}")
        )["status"]
        assert (status["display"]["state"], status["reason"]["object"]) == (
            "Ready",
            "Deployment shop/web",
        )
        assert (await service.views.get_object("Bundle", "fleet-default", BUNDLE))["status"][
            "display"
        ]["state"] == "Ready"

    run(tmp_path / "m", work)


async def why(service: Service, cluster: str) -> dict[str, Any]:
    return await service.views.explain("fleet-default", cluster=cluster, bundle=BUNDLE, name="")


async def gone(service: Service, clone: Clone) -> None:
    """The bundle is taken out of Git, and the removal is confirmed where it is held."""
    commit = clone.push({"web/m.yaml": None})
    await scanned(service, commit)
    held = (await service.views.get_object("GitRepo", "fleet-default", "apps"))["status"]["held"]
    if held:
        await service.gitrepos.confirm("fleet-default", "apps", held["removals"], commit)

    async def names() -> list[str]:
        return [item["metadata"]["name"] for item in await service.views.list_objects("Bundle")]

    await until(names, lambda found: found == ["apps-other"])
