"""Who an agent is, when disks are cloned, lost, full or restored, and when the manager is the one
that was restored.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from examples.demo.parts import Agent, tail
from tests.localkube.kubeapi import LocalKube
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"


def cluster(fleet: Fleet, name: str) -> Any:
    return fleet.call("GET", f"objects/clusters/fleet-default/{name}")


def conditions(fleet: Fleet, name: str) -> dict[str, str]:
    """Those that stand, with their messages."""
    return {
        c["type"]: c.get("message", "")
        for c in cluster(fleet, name)["status"]["conditions"]
        if c["status"] == "True"
    }


def enrolled_anew(fleet: Fleet, agent: Agent) -> str:
    made = fleet.call(
        "POST", f"clusters/fleet-default/{agent.name}/register", {"labels": {}, "replace": True}
    )
    return agent.enrol(fleet.manager.url, made["caPin"], made["token"])


def copied(fleet: Fleet, agent: Agent, target: Path) -> Agent:
    """The same disk in another machine, which writes into a directory of its own."""
    twin = Agent(fleet.folder, f"{agent.name}-twin", fleet.env, target_dir=target)
    shutil.copytree(agent.state_dir, twin.state_dir)
    known = msgspec.json.decode((twin.state_dir / "identity.json").read_bytes())
    (twin.state_dir / "identity.json").write_bytes(
        msgspec.json.encode({**known, "target_dir": str(target)})
    )
    fleet.agents[twin.name] = twin
    return twin


def test_a_cloned_disk_stops_both_until_one_is_enrolled_anew(
    clone: Clone, fleet: Fleet, tmp_path: Path
) -> None:
    """Neither applies; the cluster names both addresses; then the one that was enrolled anew works,
    and the other never again.
    """
    clone.push({"m.yaml": MAP.format(name="twin", value=1)})
    fleet.gitrepo(clone.url)
    one = fleet.agent("edge", None, target_dir=tmp_path / "one")
    fleet.all_ready(bundles=1)
    other = copied(fleet, one, tmp_path / "other")
    other.process.start()
    shown = fleet.until(
        lambda: cluster(fleet, "edge")["status"]["display"]["message"],
        lambda m: "Duplicate agent" in m,
    )
    assert "two agents use one identity, from 127.0.0.1 and 127.0.0.1" in shown
    for agent in (one, other):
        fleet.until(
            lambda agent=agent: tail(agent.process.log), lambda text: "duplicate-agent" in text
        )
    commit = clone.push({"m.yaml": MAP.format(name="twin", value=2)})
    fleet.until(
        lambda: fleet.call("GET", "objects/gitrepos/fleet-default/apps"),
        lambda r: r["status"]["commit"] == commit,
    )
    fleet.manager.process.stop()
    fleet.manager.start()
    assert "Duplicate agent" in cluster(fleet, "edge")["status"]["display"]["message"]
    texts = [(tmp_path / who / "default--apps.yaml") for who in ("one", "other")]
    assert all("'2'" not in path.read_text() for path in texts if path.exists())
    identifier = cluster(fleet, "edge")["status"]["agent"]["id"]
    one.process.stop()
    enrolled_anew(fleet, one)
    one.process.start()
    fleet.all_ready(bundles=1)
    assert "'2'" in texts[0].read_text()
    assert cluster(fleet, "edge")["status"]["agent"]["id"] == identifier
    fleet.until(lambda: tail(other.process.log), lambda text: "not-enrolled" in text, seconds=90)
    assert not texts[1].exists() or "'2'" not in texts[1].read_text()
    assert "Duplicate agent" not in str(conditions(fleet, "edge"))


def test_while_the_manager_is_away_a_lease_lets_one_of_two_agents_act(
    clone: Clone, fleet: Fleet, kube: LocalKube
) -> None:
    """The twin that has something to do waits, and says for whom; when the other is killed it goes
    on at once.
    """
    clone.push(
        {
            "fleet.yaml": "defaultNamespace: edge-lease\n",
            "m.yaml": MAP.format(name="lease", value=1),
        }
    )
    fleet.gitrepo(clone.url)
    one = fleet.agent("edge", kube["test"].kubeconfig)
    fleet.all_ready(bundles=1)
    fleet.manager.process.stop()
    other = Agent(fleet.folder, "edge-twin", fleet.env, kubeconfig=kube["test"].kubeconfig)
    shutil.copytree(one.state_dir, other.state_dir)
    (other.state_dir / "journal").unlink()  # so that it has something to do
    fleet.agents[other.name] = other
    other.process.start()
    said = fleet.until(lambda: tail(other.process.log), lambda text: "lease-taken" in text)
    assert f"process {one.process.pid} on" in said
    assert "deployed" not in said
    one.process.kill()
    fleet.until(
        lambda: tail(other.process.log),
        lambda text: "its process has ended" in text and "deployed" in text,
        seconds=60,
    )


def test_a_lost_state_directory_is_replaced_and_nothing_is_made_anew(
    clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """--replace keeps the cluster's id and labels; the new agent finds what the old one had
    deployed, and no object is another one.
    """
    clone.push(
        {"fleet.yaml": "defaultNamespace: edge-lost\n", "m.yaml": MAP.format(name="lost", value=1)}
    )
    fleet.gitrepo(clone.url)
    agent = fleet.agent("edge", kube["dev"].kubeconfig, site="paris")
    fleet.all_ready(bundles=1)
    before = cluster(fleet, "edge")
    uid = ("get", "cm", "lost", "-n", "edge-lost", "-o", "jsonpath={.metadata.uid}")
    words = ["kubectl", "--kubeconfig", str(kube["dev"].kubeconfig), *uid]
    first = subprocess.run(words, env=tool_env, capture_output=True, check=True).stdout
    agent.process.kill()
    shutil.rmtree(agent.state_dir)
    enrolled_anew(fleet, agent)
    commit = clone.push({"other.yaml": MAP.format(name="lost-too", value=1)})
    agent.process.start()
    fleet.all_ready(commit, bundles=1)
    after = cluster(fleet, "edge")
    assert after["status"]["agent"]["id"] == before["status"]["agent"]["id"]
    assert after["metadata"]["labels"]["site"] == "paris"
    assert subprocess.run(words, env=tool_env, capture_output=True, check=True).stdout == first


def test_a_manager_that_was_restored_is_not_followed_until_its_epoch_is_raised(
    clone: Clone, fleet: Fleet, tmp_path: Path
) -> None:
    """It is told so by the agent, which keeps to what it has; after `fleet-manager epoch raise` it
    leads again.
    """
    path = tmp_path / "manifests" / "default--apps.yaml"
    clone.push({"m.yaml": MAP.format(name="epoch", value=1)})
    fleet.gitrepo(clone.url)
    fleet.agent("edge", None, target_dir=path.parent)
    fleet.all_ready(bundles=1)
    fleet.manager.process.stop()
    shutil.copytree(fleet.manager.data_dir, tmp_path / "backup")
    fleet.manager.start()
    for value in (2, 3, 4):
        clone.push({"m.yaml": MAP.format(name="epoch", value=value)})
        fleet.until(path.read_text, lambda text, value=value: f"'{value}'" in text)
    fleet.manager.process.kill()
    shutil.rmtree(fleet.manager.data_dir)
    shutil.copytree(tmp_path / "backup", fleet.manager.data_dir)
    fleet.manager.start()
    said = fleet.until(
        lambda: conditions(fleet, "edge"), lambda c: "ManagerBehind" in c, seconds=90
    )
    assert "is not obeyed" in said["ManagerBehind"]
    commit = clone.push({"m.yaml": MAP.format(name="epoch", value=5)})
    fleet.until(
        lambda: fleet.call("GET", "objects/gitrepos/fleet-default/apps"),
        lambda r: r["status"]["commit"] == commit,
    )
    assert "'4'" in path.read_text()
    raised = [
        *fleet.manager.process.argv[:3],
        "epoch",
        "raise",
        "--data-dir",
        str(fleet.manager.data_dir),
    ]
    refused = subprocess.run(
        raised, env=dict(fleet.manager.process.env), capture_output=True, text=True, check=False
    )
    assert "another manager runs" in refused.stderr
    fleet.manager.process.stop()
    done = subprocess.run(
        raised, env=dict(fleet.manager.process.env), capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("epoch 1 is now 2")
    fleet.manager.start()
    fleet.until(path.read_text, lambda text: "'5'" in text, seconds=90)
    fleet.all_ready(bundles=1)
    fleet.until(lambda: conditions(fleet, "edge"), lambda c: "ManagerBehind" not in c)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(b"x" * 512)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(
            f"a small file system is needed, and only root mounts one: {done.stderr}", pytrace=False
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_changes_nothing_and_ends_with_the_first_free_bytes(
    clone: Clone, tmp_path: Path, tool_env: dict[str, str], small: Path
) -> None:
    """A commit that cannot be kept is not obeyed; reports go on; when there is room it is
    applied.
    """
    fleet = Fleet(tmp_path / "fleet", tool_env)
    try:
        clone.push({"m.yaml": MAP.format(name="full", value=1)})
        fleet.gitrepo(clone.url)
        path = tmp_path / "manifests" / "default--apps.yaml"
        agent = fleet.agent("edge", None, target_dir=path.parent)
        agent.process.stop()
        shutil.copytree(agent.state_dir, small / "state")
        agent.process.argv = [
            str(small / "state") if word == str(agent.state_dir) else word
            for word in agent.process.argv
        ]
        agent.process.start()
        fleet.all_ready(bundles=1)
        filler = small / "filler"
        fill(filler)
        clone.push({"m.yaml": MAP.format(name="full", value=2)})
        said = fleet.until(lambda: conditions(fleet, "edge"), lambda c: "DiskFull" in c)
        assert "No space left on device" in said["DiskFull"]
        assert "'2'" not in path.read_text()
        filler.unlink()
        fleet.until(path.read_text, lambda text: "'2'" in text, seconds=90)
        fleet.all_ready(bundles=1)
        fleet.until(lambda: conditions(fleet, "edge"), lambda c: "DiskFull" not in c)
    finally:
        fleet.stop()


def test_a_disk_that_turns_read_only_is_told_changes_nothing_and_is_mended_by_a_remount(
    clone: Clone, tmp_path: Path, tool_env: dict[str, str], small: Path
) -> None:
    """As a worn flash does: the agent looks and reports, also after a restart, and goes on once it
    may write again.
    """
    fleet = Fleet(tmp_path / "fleet", tool_env)
    try:
        clone.push({"m.yaml": MAP.format(name="worn", value=1)})
        fleet.gitrepo(clone.url)
        path = tmp_path / "manifests" / "default--apps.yaml"
        agent = fleet.agent("edge", None, target_dir=path.parent)
        fleet.all_ready(bundles=1)
        agent.process.stop()
        shutil.copytree(agent.state_dir, small / "state")
        agent.process.argv = [
            str(small / "state") if word == str(agent.state_dir) else word
            for word in agent.process.argv
        ]
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        agent.process.start()
        clone.push({"m.yaml": MAP.format(name="worn", value=2)})
        said = fleet.until(lambda: conditions(fleet, "edge"), lambda c: "DiskReadOnly" in c)
        assert "Read-only file system" in said["DiskReadOnly"]
        assert "'2'" not in path.read_text()
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
        fleet.until(path.read_text, lambda text: "'2'" in text, seconds=90)
        fleet.all_ready(bundles=1)
        fleet.until(lambda: conditions(fleet, "edge"), lambda c: "DiskReadOnly" not in c)
    finally:
        fleet.stop()


def test_a_state_directory_from_an_old_copy_brings_nothing_old_back(
    clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
) -> None:
    """Drift is to be corrected, and the copy's wish is older than what runs: the releases say so,
    and what runs stays.
    """
    options = "defaultNamespace: edge-copy\ncorrectDrift: {enabled: true}\n"
    clone.push({"fleet.yaml": options, "m.yaml": MAP.format(name="copy", value=1)})
    fleet.gitrepo(clone.url)
    agent = fleet.agent("edge", kube["prod"].kubeconfig)
    fleet.all_ready(bundles=1)
    agent.process.stop()
    shutil.copytree(agent.state_dir, fleet.folder / "copy")
    agent.process.start()
    commit = clone.push({"m.yaml": MAP.format(name="copy", value=2)})
    fleet.all_ready(commit, bundles=1)
    words = [
        "kubectl",
        "--kubeconfig",
        str(kube["prod"].kubeconfig),
        "get",
        "cm",
        "copy",
        "-n",
        "edge-copy",
        "-o",
        "jsonpath={.data.a}",
    ]

    def value() -> str:
        return subprocess.run(
            words, env=tool_env, capture_output=True, text=True, check=True
        ).stdout

    fleet.until(value, lambda found: found == "2")
    agent.process.stop()
    fleet.manager.process.stop()
    shutil.rmtree(agent.state_dir)
    shutil.copytree(fleet.folder / "copy", agent.state_dir)
    agent.process.start()
    fleet.until(
        lambda: tail(agent.process.log),
        lambda text: "the cluster knew more than the journal" in text,
    )
    seen: list[str] = []

    def watched() -> list[str]:
        """What is there, again and again: a drift correction takes less time than these looks."""
        seen.append(value())
        return seen

    fleet.until(watched, lambda found: len(found) >= 40 and set(found) == {"2"}, seconds=120)
    fleet.manager.start()
    fleet.all_ready(commit, bundles=1, seconds=90)
    assert value() == "2"
