"""Lists and objects through the real HTTP side: every form, filters, sorting, watching, and text
that would harm a terminal.
"""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest
import yaml

from tests.support.cli.person import HOSTILE, Person, Shop, reaches
from tests.support.cli.process import Process, login_in, on_terminal


def _fill(shop: Shop) -> None:
    give = shop.service.give
    give(
        "Bundle",
        "web",
        status={"display": {"state": "Ready", "readyClusters": "2/2"}, "commit": "a" * 40},
    )
    message = "ErrApplied(1) [Cluster fleet-default/paris: no such image]"
    give(
        "Bundle",
        "db",
        status={
            "display": {"state": "ErrApplied", "readyClusters": "1/2", "message": message},
            "commit": "b" * 40,
        },
    )
    give(
        "Cluster",
        "paris",
        metadata={"labels": {"env": "prod", "fleet.cattle.io/x": "y"}},
        status={"display": {"state": "Offline"}},
    )
    give(
        "Bundle",
        "web",
        workspace="other",
        status={"display": {"state": "Modified", "readyClusters": "0/1"}},
    )


def test_every_form_of_a_list(person: Person, shop: Shop):
    """Table, wide, JSON list, YAML documents and names."""
    _fill(shop)
    table = person.good("bundle", "list").splitlines()
    assert table[0].split() == ["NAME", "CLUSTERS-READY", "STATUS", "MESSAGE"]
    assert ["db", "1/2", "ErrApplied", "paris:", "no", "such", "image"] in [
        line.split() for line in table
    ]
    assert "COMMIT" in person.good("bundle", "list", "-o", "wide")
    found = json.loads(person.good("bundle", "list", "-o", "json"))
    assert (found["kind"], len(found["items"])) == ("List", 2)
    assert [
        d["metadata"]["name"]
        for d in yaml.safe_load_all(person.good("bundle", "list", "-o", "yaml"))
    ] == ["web", "db"]
    assert person.good("bundle", "list", "-o", "name") == "bundle/web\nbundle/db\n"


def test_one_object_is_no_list(person: Person, shop: Shop):
    """As with kubectl: one name, one object; two names, a List."""
    _fill(shop)
    assert json.loads(person.good("get", "b", "web", "-o", "json"))["kind"] == "Bundle"
    assert json.loads(person.good("get", "b", "web", "db", "-o", "json"))["kind"] == "List"
    assert json.loads(person.good("get", "b,cl", "-o", "json"))["kind"] == "List"


def test_all_workspaces_and_several_kinds(person: Person, shop: Shop):
    """-A has a column for the workspace, several kinds say their kind before each name."""
    _fill(shop)
    assert "other" in person.good("bundle", "list", "-A")
    said = person.good("get", "bundles,cl")
    assert "bundle/web" in said
    assert "cluster/paris" in said
    assert person.good("-n", "other", "get", "b", "-o", "name") == "bundle/web\n"
    assert person.good("get", "b/web", "cl/paris", "-o", "name") == "bundle/web\ncluster/paris\n"


def test_filters_and_order(person: Person, shop: Shop):
    """--state and --not-ready pick, --sort-by sorts, --no-headers leaves the titles out."""
    _fill(shop)
    assert person.good("bundle", "list", "--not-ready", "-o", "name") == "bundle/db\n"
    assert person.good("bundle", "list", "--state", "ready", "-o", "name") == "bundle/web\n"
    assert (
        person.good("bundle", "list", "--sort-by", "status", "-o", "name")
        == "bundle/db\nbundle/web\n"
    )
    assert person.good("bundle", "list", "--sort-by", ".metadata.name", "-o", "name").startswith(
        "bundle/db"
    )
    assert "NAME" not in person.good("bundle", "list", "--no-headers")
    wrong = person.run("bundle", "list", "--sort-by", "colour")
    assert wrong.status == 2
    assert "Valid columns" in wrong.err


def test_selectors_reach_the_manager(person: Person, shop: Shop):
    """-l and --repo are the manager's work."""
    shop.service.give("GitRepo", "apps")
    person.good("bundle", "list", "-l", "env in (a,b)", "--repo", "apps")
    asked = next(call for call in shop.service.calls if call.startswith("list Bundle"))
    assert "env in (a,b)" in asked
    assert "apps" in asked


def test_nothing_is_said_on_stderr_only(person: Person):
    """A script that reads stdout gets nothing; a person reads why."""
    done = person.run("gitrepo", "list")
    assert (done.status, done.out) == (0, "")
    assert "No GitRepos in workspace fleet-default." in done.err


def test_harmful_text_is_shown_harmless(person: Person, shop: Shop):
    """No control character of a name, label or message reaches the terminal, in any form of
    answer.
    """
    shop.service.give(
        "Bundle", f"x{HOSTILE}", status={"display": {"state": "ErrApplied", "message": HOSTILE}}
    )
    shop.service.counts["attention"] = [
        {"kind": "Bundle", "namespace": "w", "name": HOSTILE, "state": HOSTILE, "message": HOSTILE}
    ]
    for words in (
        ("bundle", "list"),
        ("bundle", "list", "-o", "name"),
        ("get", "b", "-o", "json"),
        ("get", "b", "-o", "yaml"),
        ("status",),
    ):
        said = person.good(*words)
        assert all(c.isprintable() or c == "\n" for c in said), words
    assert "[bold red]run[/]" in person.good("bundle", "list")
    assert (
        json.loads(person.good("get", "b", "-o", "json"))["items"][0]["metadata"]["name"]
        == f"x{HOSTILE}"
    )


def test_a_watch_shows_what_changes(shop: Shop, tmp_path: Path):
    """Not on a terminal it appends the rows that are new, and only these."""
    _fill(shop)
    with Process(login_in(tmp_path, shop), "bundle", "list", "-w") as watch:
        reaches(watch.said, lambda text: "db" in text)
        shop.service.objects["Bundle", "fleet-default", "db"]["status"]["display"] = {
            "state": "Ready",
            "readyClusters": "2/2",
        }
        shop.changed()
        rows = reaches(lambda: watch.said().splitlines(), lambda lines: len(lines) == 4)
    assert rows[3].split() == ["db", "2/2", "Ready", "-"]


def test_status_on_one_screen(person: Person, shop: Shop):
    """Counts of every kind, and what needs attention."""
    shop.service.counts = {
        "gitrepos": {"Ready": 1},
        "bundles": {"Ready": 3, "ErrApplied": 1, "Modified": 2},
        "clusters": {},
        "deployments": {"Ready": 9},
        "attention": [
            {
                "kind": "Bundle",
                "namespace": "fleet-default",
                "name": "db",
                "state": "ErrApplied",
                "message": "no such image",
            }
        ],
    }
    said = person.good("status")
    assert "1 ErrApplied, 2 Modified" in said
    assert "bundle/db" in said
    assert "no such image" in said
    assert json.loads(person.good("status", "-o", "json"))["bundles"]["Modified"] == 2
    _fill(shop)
    assert person.good("status", "-o", "name") == "bundle/web\nbundle/db\ncluster/paris\n"


def test_a_large_fleet_is_one_screen(tmp_path: Path, shop: Shop):
    """Ten thousand clusters and more troubles than fit: 80 columns, 24 rows, the worst first, each
    with its command.
    """
    line = {
        "kind": "Bundle",
        "namespace": "fleet-default",
        "state": "ErrApplied",
        "message": "3 clusters: " + "no such image " * 9,
    }
    many = [
        line | {"name": f"b-{n}", "count": 1, "next": f"fleetctl why bundle/b-{n}"}
        for n in range(90)
    ]
    silent = {
        "kind": "Cluster",
        "name": "n-1",
        "state": "Offline",
        "message": "silent since 2026-01-01T00:00:00Z",
        "count": 310,
    }
    asks = {
        "name": "web",
        "state": "Progressing",
        "clusters": "1/9000",
        "message": "partition canary waits for a yes " * 3,
    }
    rollouts = [asks | {"waitsForYou": True, "next": "fleetctl rollout approve web"}] * 5
    shop.service.counts = {
        "workspace": "fleet-default",
        "gitrepos": {"Ready": 3},
        "bundles": {"Ready": 10, "ErrApplied": 90},
        "clusters": {"Ready": 9690, "Offline": 310},
        "deployments": {"Ready": 960_000, "ErrApplied": 9000, "Offline": 31_000},
        "rollouts": {"counts": {"Progressing": 25}, "items": rollouts, "omitted": 20},
        "windows": {"closed": 12, "message": "window nightly opens at 2126-01-01T00:00:00Z"},
        "pins": {
            "bundles": 1,
            "clusters": 2,
            "items": [{"name": "web", "message": "pinned to revision 3"}],
        },
        "attention": [
            silent | {"namespace": "w", "next": "fleetctl cluster list --state Offline"},
            *many,
        ],
        "attentionOmitted": 7,
    }
    env = login_in(tmp_path, shop)
    status, said = on_terminal(env, "status")
    rows = said.rstrip("\n").split("\n")
    plain = [re.sub(r"\x1b\[\d*m", "", row) for row in rows]
    assert status == 0
    assert max(map(len, plain)) <= 80, plain
    assert len(rows) <= 32, plain
    assert any("12 clusters outside of a window" in row for row in plain)
    assert any(
        row.startswith("Offline") and "cluster/n-1 and 309 more" in row and "silent for" in row
        for row in plain
    )
    assert "fleetctl cluster list --state Offline" in said
    assert "fleetctl rollout approve web" in said
    assert plain[-1].startswith("… and 95 more")
    assert len(json.loads(on_terminal(env, "status", "-o", "json")[1])["attention"]) == 91


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_what_cannot_be_a_name_is_not_sent(person: Person, name: str):
    """No argument changes the path of a request."""
    assert person.run("cluster", "get", name).status == 2


def test_two_watches_do_not_hold_each_other(person: Person, shop: Shop):
    """A long poll that waits leaves the manager free for others."""
    ends = []
    thread = threading.Thread(
        target=lambda: ends.append(person.run("wait", "bundle/late", "--timeout", "20"))
    )
    thread.start()
    reaches(lambda: "Bundle late" in shop.service.got, bool)
    shop.service.give("Bundle", "late", status={"display": {"state": "Ready"}})
    shop.changed()
    thread.join(15)
    assert [done.status for done in ends] == [0]


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "-o", "name"),
        ("get", "clusters"),
        ("get", "all", "-o", "json"),
        ("get", "gitrepo", "web"),
        ("bundle", "list"),
        ("bundle", "get", "web"),
        ("bundle", "status"),
        ("cluster", "delete", "paris", "--yes"),
        ("held", "list"),
        ("rollout", "status"),
        ("rollout", "status", "-o", "json"),
        ("schedule", "list"),
        ("wait", "bundles", "--all", "--timeout", "0.2s"),
        ("wait", "bundle/web", "--timeout", "0.2s"),
    ],
)
def test_a_workspace_without_objects_is_reported_with_the_nearest_name(
    person: Person, shop: Shop, words: tuple[str, ...]
):
    """On stderr, whether the command lists or gets; a command that lists nothing still ends with 0,
    as kubectl does.
    """
    _fill(shop)
    done = person.run(*words, "-n", "fleet-defalt")
    assert 'workspace "fleet-defalt" has no objects; did you mean "fleet-default"?' in done.err
    assert done.err.count("has no objects") == 1
    assert (done.status == 0) == (
        words[0] in {"status", "held", "rollout"}
        or words[1] in {"clusters", "all", "list", "status"}
    )


def test_a_workspace_that_resembles_none_is_reported_with_those_that_have_objects(
    person: Person, shop: Shop
):
    """No suggestion is better than a wrong one; without any object the hint says so."""
    assert "neither has any other workspace" in person.run("get", "clusters").err
    _fill(shop)
    assert (
        "workspaces with objects: fleet-default, other"
        in person.run("get", "clusters", "-n", "zzz").err
    )
    assert "has no objects" not in person.run("get", "gitrepos").err
    assert "has no objects" not in person.run("get", "gitrepos", "-A").err
