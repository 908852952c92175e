"""`why`, through the real service: each thing that can stand in a deployment's way is named, in
order, with what comes next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.model import wire
from fleetctl.core.model.errors import NotFound, UsageError
from fleetctl.core.model.status import Report, State
from manager.commands.rollback import ClusterSelection, RollbackRequest
from manager.service import Service
from tests.integration.manager.views.test_reasons import HOUR, fails
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import add, scanned
from tests.support.manager.silence import silence
from tests.support.rollouts.simulated_agents import (
    BUNDLE,
    MAP,
    ONE,
    Agents,
    breaks,
    files,
    first_commit,
    next_commit,
    phase_is,
    plain,
    run,
    scanned_first,
)
from tests.support.waiting import until


async def why(service: Service, cluster: str, bundle: str = BUNDLE) -> dict[str, Any]:
    return await service.views.explain("fleet-default", cluster=cluster, bundle=bundle, name="")


async def begin(service: Service, agents: Agents, clone: Clone, *names: str, **spec: Any) -> str:
    await agents.join(*names)
    return await first_commit(service, clone, plain(1), **spec)


def topics(found: dict[str, Any]) -> dict[str, str]:
    return {line["topic"]: line["text"] for line in found["lines"]}


def test_what_is_ready_needs_nothing(tmp_path: Path, clone: Clone) -> None:
    """Told, applied, Ready: nothing stands in the way, and the shape has every key."""

    async def work(service: Service, agents: Agents) -> None:
        commit = await begin(service, agents, clone, "a")
        await agents.until_told(commit, 1)
        waiting = await why(service, "a")
        assert (waiting["state"], waiting["ready"], waiting["reason"]["code"]) == (
            "WaitApplied",
            False,
            "waiting",
        )
        assert waiting["next"]["text"] == "its agent applies it and reports, within minutes"
        await agents.poll()
        found = await why(service, "a")
        assert (found["state"], found["ready"], found["reason"], found["rollout"]) == (
            "Ready",
            True,
            None,
            None,
        )
        assert topics(found)["Target"] == "matches all"
        assert topics(found)["Sent"].startswith(
            f"generation {found['told']['generation']}, commit {commit[:7]}, 20"
        )
        assert topics(found)["Sent"].endswith("; and has applied it")
        assert found["next"] == {
            "text": "nothing: it is Ready. A new commit that changes it comes next",
            "command": "",
        }
        assert set(found) >= {
            "targeting",
            "told",
            "staged",
            "window",
            "dependencies",
            "pauses",
            "pins",
            "holds",
            "agent",
            "lines",
            "next",
        }

    run(tmp_path / "m", work)


def test_who_is_not_meant_reads_which_label_would_do(tmp_path: Path, clone: Clone) -> None:
    """Each target says what it asks for; the next step is the command that would bring it here."""
    targets = [
        {"name": "prod", "clusterSelector": {"matchLabels": {"env": "prod"}}},
        {"name": "x", "clusterGroup": "europe"},
    ]

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("dev", env="dev")
        await begin(service, agents, clone, targets=targets)
        found = await why(service, "dev")
        assert (found["state"], found["ready"]) == ("", False)
        assert [(t["name"], t["why"]) for t in found["targeting"]["tried"]] == [
            ("prod", "label env is dev, not prod"),
            ("x", "the cluster is not in group europe"),
        ]
        assert topics(found)["Target"] == "not for this cluster: no target matches it"
        assert found["next"]["command"] == "fleetctl cluster label dev env=prod"

    run(tmp_path / "m", work)


def test_do_not_deploy_is_said(tmp_path: Path, clone: Clone) -> None:
    """A customization that takes the bundle away is named, and no label is proposed."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        text = "targetCustomizations:\n- name: not here\n  clusterName: a\n  doNotDeploy: true\n"
        await first_commit(
            service, clone, {"web/m.yaml": MAP.format(value=1), "web/fleet.yaml": text}
        )
        found = await why(service, "a")
        assert found["targeting"]["missed"] == "not here has doNotDeploy"
        assert found["next"]["command"] == ""

    run(tmp_path / "m", work)


def test_a_failure_is_told_as_the_agent_told_it(tmp_path: Path, clone: Clone) -> None:
    """Code, message, object and hint stand there word for word, and the hint is the next step."""

    async def work(service: Service, agents: Agents) -> None:
        commit = await begin(service, agents, clone, "a")
        await agents.until_told(commit, 1)
        await agents.poll(answer=fails("web", "give it an image"))
        found = await why(service, "a")
        said = topics(found)
        assert said["Reason"] == "tool-failed: pod.v1 shop/web: no such image"
        assert (said["About"], said["Hint"], found["next"]["text"]) == (
            "pod.v1 shop/web",
            "give it an image",
            "give it an image",
        )

    run(tmp_path / "m", work)


def test_who_is_held_reads_partition_place_and_gate(tmp_path: Path, clone: Clone) -> None:
    """The budget verbatim, how many go before it, and that it goes by itself; failed, it takes a
    person.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        await scanned_first(service, agents, clone, ONE)
        second = await next_commit(service, clone, files(2, ONE))
        told = await agents.until_told(second, 1)
        held = sorted(set("abc") - told)
        both = [await why(service, name) for name in held]
        assert sorted(one["rollout"]["ahead"] for one in both) == [0, 1]
        for one in both:
            assert (one["state"], one["staged"]) == ("OutOfSync", second)
            assert topics(one)["Partition"].startswith(
                "All (1 of 1): 1 of 3 updated, 1 may be unavailable, 1 are"
            )
            assert topics(one)["Gate"] == one["rollout"]["gate"] != ""
            assert one["rollout"]["blockers"] == [*told]
            assert (
                one["next"]["command"] == f"fleetctl why {one['rollout']['blockers'][0]} {BUNDLE}"
            )
        await service.rollouts.command("fleet-default", BUNDLE, "abort", "no")
        found = await why(service, held[0])
        assert found["next"]["command"] == f"fleetctl rollout resume {BUNDLE}"
        assert topics(found)["Rollout"].endswith(": no")

    run(tmp_path / "m", work)


def test_pauses_are_named_with_who_and_why(tmp_path: Path, clone: Clone) -> None:
    """The rollout's, with the reason that a person gave; the cluster's own."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        await scanned_first(service, agents, clone, ONE)
        await service.rollouts.command("fleet-default", BUNDLE, "pause", "release freeze")
        await next_commit(service, clone, files(2, ONE))
        found = await until(lambda: why(service, "a"), lambda f: bool(f["staged"]))
        [pause] = found["pauses"]
        assert (pause["what"], pause["why"]) == (f"rollout {BUNDLE}", "release freeze")
        assert found["next"]["command"] == f"fleetctl rollout resume {BUNDLE}"
        cluster = await service.views.get_object("Cluster", "fleet-default", "b")
        doc = {key: cluster[key] for key in ("apiVersion", "kind", "metadata")} | {
            "spec": {"paused": True}
        }
        await service.objects.put("Cluster", "fleet-default", "b", doc)
        paused = (await why(service, "b"))["pauses"]
        assert [(p["what"], p["command"]) for p in paused] == [
            ("cluster b", "fleetctl cluster resume b"),
            (f"rollout {BUNDLE}", f"fleetctl rollout resume {BUNDLE}"),
        ]
        whole = await why(service, "", BUNDLE)
        assert whole["next"]["command"] == f"fleetctl rollout resume {BUNDLE}"
        await add(service, clone.url, paths=["web"], paused=True)
        found = await until(lambda: why(service, "a"), lambda f: len(f["pauses"]) == 2)
        assert (found["pauses"][0]["what"], found["pauses"][0]["command"]) == (
            "GitRepo apps",
            "fleetctl gitrepo resume apps",
        )

    run(tmp_path / "m", work)


def test_a_person_has_to_say_yes(tmp_path: Path, clone: Clone) -> None:
    """Approval: the next step is the command, for the cluster and for the bundle."""
    strategy = "{partitions: [{name: canary, clusterName: a}], approval: first}"

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b")
        first = await first_commit(service, clone, files(1, strategy))
        await agents.until_told(first, 1)
        await agents.poll("a")
        found = await until(lambda: why(service, "b"), lambda f: f["rollout"]["asks"])
        assert found["next"]["command"] == f"fleetctl rollout approve {BUNDLE}"
        assert topics(found)["Approval"] == "this partition starts only after approval"
        assert (await why(service, "", BUNDLE))["next"][
            "command"
        ] == f"fleetctl rollout approve {BUNDLE}"

    run(tmp_path / "m", work)


def test_silent_never_enrolled_revoked(tmp_path: Path, clone: Clone) -> None:
    """What is wrong with the cluster comes before anything of the bundle."""

    async def work(service: Service, agents: Agents) -> None:
        commit = await begin(service, agents, clone, "a", "b")
        await agents.until_told(commit, 2)
        await agents.poll()
        await service.agents.register(
            "fleet-default", "new", labels={}, ttl_seconds=600, replace=False
        )
        await service.agents.register(
            "fleet-default", "b", labels={}, ttl_seconds=600, replace=True
        )
        silence(service._live, agents.ids["a"], HOUR)
        silent, new, revoked = [await why(service, name) for name in ("a", "new", "b")]
        assert (silent["state"], silent["agent"]["state"], silent["ready"]) == (
            "Offline",
            "offline",
            False,
        )
        assert silent["next"]["text"].startswith(
            "on a node of a: fleet-agent check; after its next report"
        )
        assert (new["agent"]["state"], new["next"]["command"]) == (
            "never-enrolled",
            "fleetctl cluster register new",
        )
        assert (revoked["agent"]["state"], revoked["next"]["command"]) == (
            "revoked",
            "fleetctl cluster register b --replace",
        )
        of_cluster = await why(service, "a", "")
        assert (of_cluster["about"], of_cluster["ready"], of_cluster["state"]) == (
            "cluster",
            False,
            "Offline",
        )
        assert of_cluster["counts"] == {"Offline": 1}
        assert of_cluster["troubles"][0]["bundle"] == BUNDLE

    run(tmp_path / "m", work)


def test_dependencies_and_their_states(tmp_path: Path, clone: Clone) -> None:
    """Named ones with the state on this cluster, those by labels, those that are meant for nobody,
    and circles.
    """

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a")
        clone.push(
            {
                "db/m.yaml": MAP.format(value=1).replace("web", "db"),
                "db/fleet.yaml": "labels: {tier: data}\n",
            }
        )
        depends = "dependsOn:\n- name: apps-db\n- selector: {matchLabels: {tier: none}}\n"
        commit = clone.push({"web/m.yaml": MAP.format(value=1), "web/fleet.yaml": depends})
        await add(service, clone.url, paths=["web", "db"])
        await scanned(service, commit)
        await until(agents.versions, lambda v: bool(v["a"]))

        def answer(bundle: wire.DesiredBundle) -> Report:
            if bundle.name == BUNDLE:
                said = "waits for bundle apps-db, which is ErrApplied"
                state = State.WAITING_FOR_DEPENDENCY
                return Report(
                    bundle=bundle.name,
                    generation=bundle.generation,
                    state=state,
                    code="dependency",
                    message=said,
                )
            return breaks(bundle)

        await agents.poll(answer=answer)
        found = await why(service, "a")
        first, second = found["dependencies"]
        assert (first["what"], first["state"], first["fulfilled"], first["why"]) == (
            "apps-db",
            "ErrApplied",
            False,
            "ErrApplied: it does not start",
        )
        assert (second["what"], second["state"]) == ("a bundle with the labels tier=none", "")
        assert found["state"] == "WaitingForDependency"
        assert found["next"]["command"] == "fleetctl why a apps-db"
        await next_commit(
            service,
            clone,
            {"db/fleet.yaml": f"labels: {{tier: data}}\ndependsOn: [{{name: {BUNDLE}}}]\n"},
        )
        found = await until(
            lambda: why(service, "a"), lambda f: f["dependencies"][0]["what"] == "itself"
        )
        assert (
            found["dependencies"][0]["why"]
            == f"{BUNDLE} waits for apps-db waits for {BUNDLE}: none of them can start"
        )

    run(tmp_path / "m", work)


def test_a_pin_is_said_and_a_bundle_as_a_whole(tmp_path: Path, clone: Clone) -> None:
    """Who pinned it, to what, why; as a whole with all reasons counted."""

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c")
        first = await scanned_first(service, agents, clone, ONE)
        second = await next_commit(service, clone, files(2, ONE))
        [one] = await agents.until_told(second, 1)
        await agents.poll(one, answer=breaks)
        whole = await until(
            lambda: why(service, "", BUNDLE), lambda f: f["troubles"][0]["state"] == "ErrApplied"
        )
        assert (whole["state"], whole["ready"], whole["counts"]) == (
            "ErrApplied",
            False,
            {"ErrApplied": 1, "OutOfSync": 2},
        )
        assert topics(whole)["ErrApplied"] == f"it does not start ({one})"
        assert whole["next"]["command"] == f"fleetctl why {one} {BUNDLE}"
        await service.rollouts.go_back(
            "fleet-default", BUNDLE, RollbackRequest(reason="it does not start", person="ann")
        )
        await phase_is(service, "Progressing")
        pinned = await why(service, one)
        assert pinned["pins"][0]["what"].endswith(f"({first[:7]})")
        assert (pinned["pins"][0]["why"], pinned["pins"][0]["who"]) == ("it does not start", "ann")
        assert pinned["pins"][0]["command"] == f"fleetctl rollback {BUNDLE} --release"
        await service.rollouts.go_back(
            "fleet-default", BUNDLE, RollbackRequest(release=True, person="ann")
        )
        await service.rollouts.go_back(
            "fleet-default",
            BUNDLE,
            RollbackRequest(
                number=1, reason="only here", person="bob", clusters=ClusterSelection((one,))
            ),
        )
        [own] = (await why(service, one))["pins"]
        assert (own["who"], own["why"], own["command"]) == (
            "bob",
            "only here",
            f"fleetctl rollback {BUNDLE} --release --cluster {one}",
        )
        [some] = (await why(service, "", BUNDLE))["pins"]
        assert some["what"] == "1 cluster is pinned to another revision"

    run(tmp_path / "m", work)


def test_unknown_names_name_the_nearest(tmp_path: Path, clone: Clone) -> None:
    """Of a cluster, a bundle, or a name that could be either; a name that is both has to be said
    which.
    """

    async def work(service: Service, agents: Agents) -> None:
        await begin(service, agents, clone, "paris", BUNDLE)
        for asked, near in (
            ({"cluster": "pariss"}, "paris"),
            ({"bundle": "apps-wob"}, BUNDLE),
            ({"name": "parys"}, "paris"),
        ):
            given = {"cluster": "", "bundle": "", "name": "", **asked}
            with pytest.raises(NotFound) as why_not:
                await service.views.explain("fleet-default", **given)
            assert why_not.value.next_step == f"Did you mean {near}?"
        assert (await service.views.explain("fleet-default", cluster="", bundle="", name="paris"))[
            "about"
        ] == "cluster"
        with pytest.raises(UsageError):
            await service.views.explain("fleet-default", cluster="", bundle="", name=BUNDLE)

    run(tmp_path / "m", work)


def test_a_newcomer_to_a_workspace_sees_only_its_own(tmp_path: Path, clone: Clone) -> None:
    """A cluster of another workspace is unknown here."""

    async def work(service: Service, agents: Agents) -> None:
        await begin(service, agents, clone, "a")
        with pytest.raises(NotFound):
            await service.views.explain("elsewhere", cluster="a", bundle=BUNDLE, name="")

    run(tmp_path / "m", work)


def test_a_removal_that_waits_is_named_with_its_command(tmp_path: Path, clone: Clone) -> None:
    """A label goes from every cluster: what is held says so, here and for the bundle, and how to
    let it go.
    """
    targets = [{"name": "prod", "clusterSelector": {"matchLabels": {"env": "prod"}}}]

    async def work(service: Service, agents: Agents) -> None:
        await agents.join("a", "b", "c", env="prod")
        commit = await begin(service, agents, clone, targets=targets)
        await agents.until_told(commit, 3)
        await agents.poll()
        await service.objects.patch_labels("Cluster", "fleet-default", "a", {"env": None})
        found = await why(service, "a")
        [hold] = found["holds"]
        assert hold["why"].startswith(
            "would be removed from 1 of 3 clusters (a): labels of clusters changed"
        )
        assert (
            found["next"]["command"]
            == hold["command"]
            == f"fleetctl held confirm {BUNDLE} --removals 1"
        )
        assert (await why(service, "b"))["holds"] == []
        assert (await why(service, "", BUNDLE))["next"]["command"] == hold["command"]

    run(tmp_path / "m", work)
