"""`fleetctl wait` in a pipeline: several things, commits, rollouts that fail, and a manager that is
asked no more than it takes.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.support.cli.person import Done, Person, Shop, reaches
from tests.support.cli.process import Process, login_in, on_terminal


def _rollout(
    shop: Shop, state: str, clusters: str = "1/9", message: str = "", commit: str = "a" * 40
) -> None:
    display = {"state": state, "clusters": clusters, "partitions": "0/1", "message": message}
    meta = {"name": "web", "namespace": "fleet-default"}
    shop.service.rollouts[:] = [
        {"kind": "Rollout", "metadata": meta, "status": {"display": display, "commit": commit}}
    ]


@pytest.fixture(autouse=True)
def _no_rollouts(shop: Shop) -> None:
    shop.service.rollouts.clear()


def test_several_kinds_and_names_at_once(person: Person, shop: Shop) -> None:
    """Each is named when it is missing; names of one kind may stand apart."""
    shop.service.give("Bundle", "web", status={"display": {"state": "Ready"}})
    shop.service.give(
        "GitRepo", "apps", status={"display": {"state": "Stalled", "message": "no such branch"}}
    )
    done = person.run("wait", "bundle/web", "gitrepo/apps", "--timeout", "0")
    assert done.status == 6
    assert done.err.count("no such branch") == 1
    assert "GitRepo apps is Stalled: no such branch" in done.err
    assert "not ready within 0s: 1 of 2" in done.err
    began = time.monotonic()
    unknown = person.run("wait", "bundle/web", "gitrepo/apps", "gitrepo/other", "--timeout", "60")
    assert unknown.status == 1
    assert "GitRepo other" in unknown.err
    assert time.monotonic() - began < 30
    assert person.run("wait", "bundle", "--all", "--timeout", "0").status == 0


@pytest.mark.parametrize(
    ("state", "status"),
    [("Completed", 0), ("Paused", 6), ("Progressing", 6), ("Failed", 1), ("Aborted", 1)],
)
def test_a_rollout(person: Person, shop: Shop, state: str, status: int) -> None:
    """Failed and aborted end it at once, with the reason and what a person may do."""
    _rollout(shop, state, message="2 clusters could not apply it")
    began = time.monotonic()
    done = person.run(
        "wait", "rollout/web", "--for", "completed", "--timeout", "0" if status == 6 else "60"
    )
    assert done.status == status
    if status:
        assert "2 clusters could not apply it" in done.err
    if status == 1:
        assert time.monotonic() - began < 30
        assert "fleetctl rollout resume web" in done.err


def test_a_failed_rollout_of_another_commit_is_not_the_end(person: Person, shop: Shop) -> None:
    """The commit that is waited for may be on its way: its rollout takes the place of the failed
    one.
    """
    _rollout(shop, "Failed", commit="a" * 40)
    done: list[Done] = []
    thread = threading.Thread(
        target=lambda: done.append(
            person.run("wait", "rollout/web", "--for", "completed", "--commit", "bbb")
        )
    )
    thread.start()
    reaches(lambda: shop.service.calls, lambda _: bool(shop.service.rollouts))
    _rollout(shop, "Completed", "9/9", commit="b" * 40)
    shop.changed()
    thread.join(30)
    assert [d.status for d in done] == [0]


def test_commit_and_state_together(person: Person, shop: Shop) -> None:
    """Several --for all hold."""
    shop.service.give(
        "GitRepo",
        "apps",
        status={"display": {"state": "Ready"}, "commit": "abcdef", "summary": {"desiredReady": 1}},
    )
    words = ("wait", "gitrepo/apps", "--timeout", "0")
    assert (
        person.run(*words, "--for", "commit=abc", "--for", "ready", "--for", "synced").status == 0
    )
    late = person.run(*words, "--for", "commit=123", "--for", "ready")
    assert late.status == 6
    assert "GitRepo apps is at abcdef" in late.err


@pytest.mark.parametrize(
    "words",
    [
        ("bundle/web", "--for", "completed"),
        ("cluster/paris", "--for", "commit=abc"),
        ("bundle/web", "--for", "reddy"),
        ("bundle/web", "--all"),
        ("--all",),
        ("bundle/web", "-l", "a=b"),
        ("rollout", "-l", "a=b"),
        ("bundle/", "--timeout", "1"),
        ("bundle/web", "--for", "deleted", "--for", "ready"),
    ],
)
def test_what_makes_no_sense(person: Person, shop: Shop, words: tuple[str, ...]) -> None:
    """Exit status 2 before the manager is asked."""
    shop.service.calls.clear()
    assert person.run("wait", *words).status == 2
    assert shop.service.calls == []


def test_a_busy_fleet_is_not_asked_without_end(person: Person, shop: Shop) -> None:
    """Something changes all the time: the looks come further and further apart."""
    shop.service.give("Bundle", "web", status={"display": {"state": "NotReady"}})
    over = threading.Event()

    def churn() -> None:
        while not over.wait(0.01):
            shop.changed()

    thread = threading.Thread(target=churn)
    thread.start()
    looks: list[str] = []
    kept = shop.service.get_object

    async def counted(*key: str) -> dict[str, object]:
        looks.append(key[2])
        return await kept(*key)

    shop.service.get_object = counted  # type: ignore[method-assign]
    try:
        assert person.run("wait", "bundle/web", "--timeout", "5").status == 6
    finally:
        del shop.service.get_object  # type: ignore[method-assign]
        over.set()
        thread.join()
    assert 2 <= len(looks) <= 20, f"{len(looks)} looks in 5 s"


def test_names_are_completed(person: Person, shop: Shop) -> None:
    """Of each kind that is written; a rollout has its bundle's name, and what was named already is
    not offered again.
    """
    shop.service.give("Bundle", "web")
    shop.service.give("Bundle", "db")
    shop.service.give("GitRepo", "apps")
    assert person.good("__complete", "wait", "rollout/").split() == ["rollout/web", "rollout/db"]
    assert person.good("__complete", "wait", "bundle/web", "bundle/").split() == ["bundle/db"]
    assert person.good("__complete", "wait", "bundle/web", "gitrepo/").split() == ["gitrepo/apps"]
    assert person.good("__complete", "wait", "bundle", "web", "").split() == ["db"]


def test_on_a_terminal_a_wait_shows_what_is_missing_in_place(shop: Shop, tmp_path: Path) -> None:
    """The view disappears at the end; the answer stays."""
    shop.service.give("Bundle", "web", status={"display": {"state": "NotReady"}})

    def finish() -> None:
        reaches(lambda: "Bundle web" in shop.service.got, bool)
        shop.service.give("Bundle", "web", status={"display": {"state": "Ready"}})
        shop.changed()

    thread = threading.Thread(target=finish)
    thread.start()
    status, screen = on_terminal(login_in(tmp_path, shop), "wait", "bundle/web", "--timeout", "20")
    thread.join()
    assert status == 0
    assert screen.rstrip().endswith("bundle/web: ready")


def test_a_watched_rollout_is_shown_again_when_it_changes(shop: Shop, tmp_path: Path) -> None:
    """In a file, one table below the other."""
    _rollout(shop, "Progressing", clusters="1/9")
    shop.service.rollouts[0]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    shop.service.rollouts[0]["status"]["offline"] = 0
    with Process(login_in(tmp_path, shop), "rollout", "status", "-w") as watch:
        reaches(watch.said, lambda text: "1/9" in text)
        shop.changed()
        shop.service.rollouts[0]["status"]["display"]["clusters"] = "2/9"
        shop.changed()
        text = reaches(watch.said, lambda text: "2/9" in text)
    assert text.count("BUNDLE") == 2
