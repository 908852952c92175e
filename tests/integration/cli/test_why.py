"""`fleetctl why` on a terminal and in a script: short text at 80 columns, exit statuses, names that
are both, text that would harm.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from fleetctl.core.model.errors import NotFound
from tests.support.cli.person import HOSTILE, Person, Shop

GATE = (
    "1 of 300 clusters may be unavailable at once, 1 are, and this sentence goes on until it needs"
    " a second line"
)


def _answer(**more: Any) -> dict[str, Any]:
    told = [
        {"topic": "Target", "text": "matches prod"},
        {"topic": "Gate", "text": GATE},
        {"topic": "Agent", "text": "last report 2026-01-01T00:00:00Z"},
    ]
    head = {
        "kind": "Why",
        "about": "deployment",
        "cluster": "paris",
        "bundle": "web",
        "state": "OutOfSync",
        "ready": False,
        "staged": "b" * 40,
    }
    command = "fleetctl rollout approve web"
    return {
        **head,
        "lines": told,
        "next": {"text": f"approve it: {command}", "command": command},
        **more,
    }


def test_the_lines_fit_and_the_next_step_comes_last(person: Person, shop: Shop) -> None:
    """A title, a topic and its text each, wrapped at 80 columns, and `Next:`; exit status 1."""
    shop.service.whys["paris", "web"] = _answer()
    done = person.run("why", "paris", "web")
    rows = done.out.splitlines()
    assert (done.status, done.err) == (1, "")
    assert rows[0] == "Bundle web on cluster paris: OutOfSync"
    assert rows[2] == "Target       matches prod"
    assert rows[3:5] == [
        "Gate         1 of 300 clusters may be unavailable at once, 1 are, and this",
        "             sentence goes on until it needs a second line",
    ]
    assert rows[5].startswith("Agent        last report ")
    assert rows[5].endswith(" ago")
    assert rows[-1] == "Next: approve it: fleetctl rollout approve web"
    assert max(map(len, rows)) <= 80
    assert GATE in person.run("why", "paris", "web", "-o", "wide").out


def test_ready_is_0_and_held_is_1(person: Person, shop: Shop) -> None:
    """What is Ready and has nothing staged ends well; Ready with something held back does not."""
    shop.service.whys["paris", "web"] = _answer(state="Ready", ready=True, staged="")
    assert person.run("why", "paris", "web").status == 0
    shop.service.whys["paris", "web"] = _answer(state="Ready", ready=True)
    assert person.run("why", "paris", "web").status == 1
    shop.service.whys["", "web"] = _answer(about="bundle", state="Ready", ready=True, staged=None)
    assert person.run("why", "web").status == 0


def test_scripts_get_the_whole_document(person: Person, shop: Shop) -> None:
    """JSON and YAML as the manager said it, with the exit status of the text."""
    shop.service.whys["paris", "web"] = _answer()
    for form, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        done = person.run("why", "paris", "web", "-o", form)
        assert (done.status, load(done.out)) == (1, _answer())


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("paris", "web"), "why fleet-default paris web "),
        (("cluster/paris", "bundle/web"), "why fleet-default paris web "),
        (("bundle/web", "cl/paris"), "why fleet-default paris web "),
        (("b/web", "paris"), "why fleet-default paris web "),
        (("web",), "why fleet-default   web"),
        (("cluster/paris",), "why fleet-default paris  "),
        (("b/web",), "why fleet-default  web "),
    ],
)
def test_what_is_asked(person: Person, shop: Shop, words: tuple[str, ...], asked: str) -> None:
    """Cluster and bundle in this order, or said which is which; a name alone is looked up by the
    manager.
    """
    person.run("why", *words)
    assert asked in shop.service.calls


@pytest.mark.parametrize(
    "words",
    [
        ("a", "b", "c"),
        ("bundle/a", "bundle/b"),
        ("gitrepo/a", "b"),
        ("nonsense/a",),
        ("cluster/",),
        (),
    ],
)
def test_what_cannot_be_asked(person: Person, words: tuple[str, ...]) -> None:
    """Exit status 2 and one line, before the manager is asked."""
    done = person.run("why", *words)
    assert done.status == 2
    assert done.out == ""


def test_an_unknown_name_says_the_nearest(person: Person, shop: Shop) -> None:
    """As the manager says it."""
    shop.service.broken = NotFound(
        "cluster pariss does not exist", subject="cluster pariss", next_step="Did you mean paris?"
    )
    done = person.run("why", "pariss", "web")
    assert (done.status, done.out) == (1, "")
    assert "Did you mean paris?" in done.err


def test_a_wrong_option_and_a_manager_that_is_gone(person: Person, shop: Shop) -> None:
    """2 with the nearest option; 5 with what to do."""
    assert "Did you mean --output?" in person.run("why", "paris", "web", "--outputt", "json").err
    text = person.config.read_text()
    person.config.write_text(text.replace(shop.url, "https://127.0.0.1:9"))
    done = person.run("why", "paris", "web")
    assert done.status == 5
    assert "no program listens on this address" in done.err


def test_hostile_text_does_not_steer_the_terminal(person: Person, shop: Shop) -> None:
    """What an agent says is shown without control characters."""
    shop.service.whys["paris", "web"] = _answer(
        lines=[{"topic": "Reason", "text": HOSTILE}], state=HOSTILE
    )
    out = person.run("why", "paris", "web").out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_names_are_completed(person: Person, shop: Shop) -> None:
    """Clusters and bundles first, then bundles; behind a kind that kind's."""
    shop.service.give("Cluster", "paris")
    shop.service.give("Bundle", "web")
    assert person.good("__complete", "why", "").split() == ["paris", "web"]
    assert person.good("__complete", "why", "paris", "").split() == ["web"]
    assert person.good("__complete", "why", "cluster/").split() == ["cluster/paris"]
    assert person.run("__complete", "why", "paris", "web", "").out == ""


def test_reasons_are_shown_with_hints(person: Person, shop: Shop) -> None:
    """Of a GitRepo and a bundle: all clusters counted, one named, and what to do; what is not
    listed is counted too.
    """
    reason = {
        "state": "ErrApplied",
        "code": "tool-failed",
        "cause": "no such image",
        "object": "pod.v1 a/b",
        "hint": "give it an image",
    }
    one = reason | {
        "count": 1,
        "example": {"cluster": "oslo", "bundle": "web"},
        "cause": "silent since 2026-01-01T00:00:00Z",
    }
    reasons = [reason | {"count": 6, "example": {"cluster": "paris", "bundle": "web"}}, one]
    status = {
        "display": {"state": "ErrApplied", "message": "x"},
        "reasons": reasons,
        "reasonsOmitted": {"reasons": 2, "count": 31},
    }
    shop.service.give("GitRepo", "apps", status=status)
    shop.service.give("Bundle", "web", status=status)
    for kind in ("gitrepo", "bundle"):
        said = person.good(kind, "get", {"gitrepo": "apps", "bundle": "web"}[kind]).splitlines()
        assert "ErrApplied (6, one is paris): no such image" in said
        assert "    tool-failed: give it an image" in said
        assert any(line.startswith("ErrApplied (oslo): silent for ") for line in said)
        assert "and 31 deployments more, with 2 other reasons" in said
    shop.service.give(
        "BundleDeployment",
        "paris.web",
        spec={"cluster": "paris", "bundle": "web"},
        status={"reason": reason},
    )
    assert "give it an image" in person.good("bundle", "status", "-o", "wide")


def test_who_is_offline_shows_since_when(person: Person, shop: Shop) -> None:
    """A column of its own, empty for those that are heard."""
    shop.service.give(
        "Cluster",
        "a",
        status={"display": {"state": "Offline"}, "agent": {"lastSeen": "2026-01-01T00:00:00Z"}},
    )
    shop.service.give(
        "Cluster",
        "b",
        status={"display": {"state": "Ready"}, "agent": {"lastSeen": "2026-01-01T00:00:00Z"}},
    )
    head, a, b = (row.split() for row in person.good("cluster", "list").splitlines())
    assert head.index("OFFLINE") == head.index("LAST-SEEN") + 1
    assert a[head.index("OFFLINE")] == a[head.index("LAST-SEEN")] != "-"
    assert b[head.index("OFFLINE")] == "-"
