"""A plan through the real manager, a real Git server, real agents and the command line; then what
it said happens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.manager.test_planning import SERVICE, branch
from tests.servers.gitserver import GitServer
from tests.support.cli.person import Person, surroundings
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    (tmp_path / "git").mkdir()
    with GitServer(tmp_path / "git") as server:
        yield Clone(server, "apps", tmp_path / "clone")


@pytest.fixture
def fleet(tmp_path: Path, tool_env: dict[str, str]) -> Iterator[Fleet]:
    running = Fleet(tmp_path / "fleet", tool_env)
    try:
        with surroundings(PATH=tool_env["PATH"]):
            yield running
    finally:
        running.stop()


def logged_in(fleet: Fleet, folder: Path, token: str = "") -> Person:
    person, pin = Person(folder), fleet.manager.ca_pin
    person.good(
        "login",
        fleet.manager.url,
        "--ca-pin",
        pin,
        "--token-stdin",
        stdin=f"{token or fleet.manager.admin_token}\n",
    )
    return person


def document(person: Person, *words: str) -> dict[str, Any]:
    """The plan; only the kind of its source and Git's names are left out, because they differ
    between sources.
    """
    done = person.run("plan", "apps", "-o", "json", *words)
    assert done.status in {0, 1}, done
    found: dict[str, Any] = json.loads(done.out)
    return {key: value for key, value in found.items() if key not in {"ref", "commit"}}


def test_a_branch_a_commit_and_a_folder_say_the_same_and_it_happens(
    clone: Clone, fleet: Fleet, tmp_path: Path
) -> None:
    """Two clusters, one of them with a customization: changed here, new there, removed; then
    merged, and every cluster has it so.
    """
    customized = (
        "targetCustomizations: [{name: eu, clusterSelector: {matchLabels: {region: eu}}, yaml:"
        " {overlays: [eu]}}]\n"
    )
    first = {f"{name}/m.yaml": MAP.format(name=name, value=1) for name in ("web", "db", "old")}
    clone.push(
        first
        | {
            "web/fleet.yaml": customized,
            "web/overlays/eu/m.yaml": MAP.format(name="web", value="eu"),
        }
    )
    fleet.gitrepo(clone.url, paths=["*"])
    places = {name: tmp_path / name for name in ("a", "b")}
    fleet.agent("a", None, target_dir=places["a"], region="eu")
    fleet.agent("b", None, target_dir=places["b"], region="us")
    fleet.all_ready(bundles=6)
    commit = branch(
        clone,
        "next",
        {"web/m.yaml": MAP.format(name="web", value=2), "new/m.yaml": SERVICE, "old/m.yaml": None},
    )
    person = logged_in(fleet, tmp_path)
    before = fleet.deployments()
    by_branch = document(person, "--branch", "next")
    clone.git("checkout", "--quiet", "next")
    assert document(person, "--commit", commit) == by_branch
    assert document(person, "--local", str(clone.folder)) == by_branch
    assert document(person, "--path", f"{clone.folder}@{commit}") == by_branch
    assert {name: i["spec"] for name, i in fleet.deployments().items()} == {
        name: i["spec"] for name, i in before.items()
    }

    found = {i["bundle"]: i for i in by_branch["bundles"]}
    assert {name: i["what"] for name, i in found.items()} == {
        "apps-new": "added",
        "apps-old": "removed",
        "apps-web": "changed",
    }
    by_name = {name: group for group in found["apps-web"]["groups"] for name in group["names"]}
    assert "+  a: '2'" in by_name["b"]["changes"][0]["diff"]
    assert by_name["a"]["changes"] == []  # what the overlay states wins, before and after
    assert person.run("plan", "apps", "--branch", "nxet").status == 2
    assert "no branch nxet" in person.run("plan", "apps", "--branch", "nxet").err

    for name in ("web", "db"):
        (clone.folder / name / "fleet.yaml").write_text("helm:\n  vlaues: {}\n")
    broken = person.run("plan", "apps", "--local", str(clone.folder))
    assert broken.status == 2
    assert "web/fleet.yaml:2:3" in broken.err
    assert "db/fleet.yaml:2:3" in broken.err
    # what cannot be made is no sign that it is gone, and neither is `old` beside it
    assert "removed" not in broken.out

    clone.git("checkout", "--quiet", "--", ".")
    (clone.folder / "db" / "m.yaml").unlink()
    (clone.folder / "db" / "fleet.yaml").write_text("namespace: db\n")
    emptied = person.run("plan", "apps", "--local", str(clone.folder))
    assert (emptied.status, emptied.err.count("warning: db holds no file to deploy")) == (2, 1)
    assert (
        "error: db holds no file to deploy; bundle apps-db, which was made from db, stays"
        in emptied.err
    )
    assert "removed" not in emptied.out

    clone.git("push", "--quiet", "origin", "next:main")
    fleet.until(
        lambda: {n: sorted(p.name for p in place.glob("*.yaml")) for n, place in places.items()},
        lambda files: len(files["b"]) == 3,
    )
    fleet.all_ready(commit, bundles=6)
    after = fleet.deployments()
    said = {
        f"{name}.{i['bundle']}": group
        for i in by_branch["bundles"]
        for group in i["groups"]
        for name in group["names"]
    }
    assert set(after) - set(before) == {
        name for name, group in said.items() if group["what"] == "added"
    }
    assert set(before) - set(after) == {
        name for name, group in said.items() if group["what"] == "removed"
    }
    again = {
        n
        for n in set(after) & set(before)
        if after[n]["spec"]["generation"] != before[n]["spec"]["generation"]
    }
    assert again == {name for name, group in said.items() if group["what"] == "changed"}
    assert all(
        after[name]["spec"]["archive"] == group["new"]["archive"]
        for name, group in said.items()
        if "new" in group
    )
    assert any("a: '2'" in path.read_text() for path in places["b"].glob("*.yaml"))
    assert "Nothing changes" in person.good("plan", "apps")


def test_who_may_ask(clone: Clone, fleet: Fleet, tmp_path: Path) -> None:
    """A token that reads, bound to the workspace, is enough; of another workspace it gets neither
    plan nor archive; a manager that is gone is told apart from a change.
    """
    clone.push({"m.yaml": MAP.format(name="web", value=1)})
    fleet.gitrepo(clone.url)
    fleet.agent("a", None, target_dir=tmp_path / "a")
    fleet.all_ready(bundles=1)
    branch(clone, "next", {"m.yaml": MAP.format(name="web", value=2)})
    admin = logged_in(fleet, tmp_path / "admin")
    token = admin.good(
        "token", "create", "ci", "--role", "read", "-n", "fleet-default"
    ).splitlines()[0]
    reader = logged_in(fleet, tmp_path / "ci", token)
    done = reader.run("plan", "apps", "--branch", "next", "-n", "fleet-default")
    assert (done.status, "+  a: '2'" in done.out) == (1, True), done
    file = tmp_path / "gitrepo.yaml"
    spec = f"{{repo: '{clone.url}', targets: [{{clusterSelector: {{}}}}]}}"
    file.write_text(
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\nmetadata: {name: more, namespace:"
        f" fleet-default}}\nspec: {spec}\n"
    )
    assert reader.run("plan", "-f", str(file)).status == 3
    assert "1 gained on 1 cluster" in admin.run("plan", "-f", str(file)).out
    other = admin.good("token", "create", "other", "--role", "read", "-n", "team-b").splitlines()[0]
    stranger = logged_in(fleet, tmp_path / "other", other)
    refused = stranger.run("plan", "apps", "--branch", "next", "-n", "fleet-default")
    assert (refused.status, "bound to workspace team-b" in refused.err) == (3, True)
    archive = fleet.deployments()["a.apps"]["spec"]["archive"]
    assert fleet.client.get(f"/api/v1/archives/{archive}").status_code == 200
    assert (
        fleet.client.get(
            f"/api/v1/archives/{archive}", headers={"authorization": f"Bearer {other}"}
        ).status_code
        == 404
    )
    assert fleet.client.get("/api/v1/archives/nothing").status_code == 404
    fleet.manager.process.stop()
    assert reader.run("plan", "apps", "-n", "fleet-default").status == 5
