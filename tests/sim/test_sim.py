"""Simulated agents against a manager that is killed: nothing is lost, nobody starves, and the
answers are right. Figures come from `make sim`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.sim.simulator import FleetsimRun, SimulatedFleet

AGENTS = 300
DEADLINE = 120.0


def count_lines(fleet: SimulatedFleet, kind: str) -> int:
    if not fleet.journal.exists():
        return 0
    return sum(line.startswith(f"{kind} ") for line in fleet.journal.read_text().splitlines())


def wait_lines(fleet: SimulatedFleet, kind: str, count: int) -> None:
    """Wait until the manager has acknowledged so many requests of a kind."""
    end = time.monotonic() + DEADLINE
    while count_lines(fleet, kind) < count:
        assert time.monotonic() < end, f"{count_lines(fleet, kind)} {kind} of {count}"
        time.sleep(0.05)


def restart(fleet: SimulatedFleet) -> None:
    """kill -9 and a new start."""
    fleet.kill()
    fleet.start()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedFleet]:
    """Agents with one bundle, whose manager was killed in the middle of their enrolment."""
    fleet = SimulatedFleet(tmp_path_factory.mktemp("sim"), AGENTS)
    try:
        fleet.start()
        fleet.create_repository()
        token = fleet.create_token()
        run = fleet.start_verb("enrol", "--count", AGENTS, "--token-file", token)
        wait_lines(fleet, "enrolled", AGENTS // 3)
        restart(fleet)
        assert run.wait()["unanswered"] == 0
        yield fleet
    finally:
        fleet.stop()


def finish(run: FleetsimRun) -> dict[str, int]:
    """End a run of check-ins. Returns its errors, of which there may be none."""
    run.interrupt()
    result = run.wait()
    assert result["ok"] > 0
    return dict(result["errors"])


def test_no_enrolment_is_lost_when_the_manager_is_killed(fleet: SimulatedFleet) -> None:
    assert fleet.check()["enrolled"] >= AGENTS
    clusters = fleet.call("GET", "objects/clusters")["items"]
    assert len(clusters) == AGENTS


def test_each_agent_gets_the_document_of_a_commit(fleet: SimulatedFleet) -> None:
    """All agents wait in long polls."""
    run = fleet.start_verb("follow", "--wait", "30s", "--duration", f"{DEADLINE:.0f}s")
    run.wait_ready()
    run.write_line(f"{fleet.push()} {time.time()}")
    fleet.sync()
    result = run.wait()
    assert (result["missing"], result["errors"]) == (0, {})


def test_no_report_is_lost_when_the_manager_is_killed(fleet: SimulatedFleet) -> None:
    """A report that was acknowledged before the kill is there, or a later one of its agent."""
    run = fleet.start_verb("report", "--connections", 16)
    wait_lines(fleet, "reported", 2 * AGENTS)
    restart(fleet)
    wait_lines(fleet, "reported", count_lines(fleet, "reported") + AGENTS)
    run.interrupt()
    assert run.wait()["ok"] > 0
    assert fleet.check()["reported"] >= 3 * AGENTS


def test_all_agents_come_back_after_a_kill(fleet: SimulatedFleet) -> None:
    """Each gets a right answer: its document is the one that it has, or a newer one."""
    fleet.kill()
    run = fleet.start_verb("storm", "--connections", 64, "--duration", f"{DEADLINE:.0f}s")
    fleet.start()
    assert run.wait()["unanswered"] == 0
    fleet.check()


def test_archives_have_their_digest(fleet: SimulatedFleet) -> None:
    result = fleet.run("archive", "--count", 20, "--requests", 100)
    assert (result["ok"], result["errors"]) == (100, {})


def test_bad_clients_do_not_stop_bystanders(fleet: SimulatedFleet) -> None:
    """Others check in without an error beside slow, half-open and lossy connections."""
    words = ("--count", 20, "--rate", 20, "--connections", 20, "--new")
    bystanders = fleet.start_verb("checkin", *words)
    slow = fleet.run("slow", "--first", 20, "--connections", 10, "--duration", "4s")
    assert sum(slow["opened"].values()) > 70
    assert finish(bystanders) == {}


def test_the_peer_answers_the_same_check_in(fleet: SimulatedFleet) -> None:
    fleet.run("checkin", "--requests", AGENTS)
    with fleet.peer() as peer:
        result = fleet.run("checkin", "--requests", 2 * AGENTS, "--url", peer.url)
    assert (result["statuses"], result["errors"]) == ({"304": 2 * AGENTS}, {})
