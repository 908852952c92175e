"""The scenarios of `make sim`. Each yields the rows of the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.sim.prepare import write_agents
from tests.sim.process_usage import usage_of_tree
from tests.sim.simulator import FleetsimRun, Result, SimulatedFleet

_LOAD_SECONDS = "15s"
_CONNECTIONS = 64
_MOST_CONNECTIONS = 4000
_MOST_POLLS = 10_000
_MOST_REPORTERS = 2000
_POLL_SECONDS = 20
_STORM_RATE = 1200
_FOLLOW_SECONDS = 600
_BYSTANDER_RATE = 50


@dataclass(frozen=True)
class Row:
    """One line of the table. `cpu` in milliseconds for each right answer, `peer_cpu` of the Go
    server under the same load, 0 where it was not measured.
    """

    name: str
    result: Result
    cpu: float
    resident_bytes: int
    peer_cpu: float = 0.0
    note: str = ""


def enrol(fleet: SimulatedFleet) -> Iterator[Row]:
    """Enrol every agent over the wire: most into an empty workspace, the last ones into one with a
    bundle that they get at once.
    """
    latecomers = max(1, fleet.count // 20)
    early = fleet.count - latecomers
    words = ("--total", fleet.count, "--token-file", fleet.create_token(), "--connections", 32)
    yield _measure(fleet, "enrolment", "enrol", "--count", early, *words)
    yield _check_in_first(fleet, early)
    fleet.create_repository()
    fleet.hand_out(early)
    late = (*words, "--first", early, "--count", latecomers)
    yield _measure(fleet, "enrolment, with a bundle", "enrol", *late)
    fleet.hand_out(fleet.count)


def prepare(fleet: SimulatedFleet) -> Iterator[Row]:
    """Enrol every agent in the database."""
    fleet.manager.process.stop()
    write_agents(fleet)
    fleet.start()
    row = _check_in_first(fleet, fleet.count)
    yield replace(row, note=f"PREPARED, not enrolled; started in {fleet.start_seconds:.2f} s")
    fleet.create_repository()
    fleet.hand_out(fleet.count)


def _check_in_first(fleet: SimulatedFleet, count: int) -> Row:
    words = ("--count", count, "--requests", count, "--new", "--connections", _CONNECTIONS)
    return _measure(fleet, "first check-in, new TLS", "checkin", *words)


def fetch_documents(fleet: SimulatedFleet) -> Iterator[Row]:
    """Every agent gets its whole document."""
    words = ("--fresh", "--requests", fleet.count, "--new", "--connections", _CONNECTIONS)
    yield _measure(fleet, "whole document, new TLS", "checkin", *words)


def check_in_on_open_connections(fleet: SimulatedFleet) -> Iterator[Row]:
    """Unchanged check-ins on connections that stay open."""
    connections = min(fleet.count, _MOST_CONNECTIONS)
    words = ("--warm", "--connections", connections, "--stay", 1)
    yield _compare(fleet, "unchanged check-in, kept", *words)


def check_in_with_new_tls(fleet: SimulatedFleet) -> Iterator[Row]:
    """Unchanged check-ins with a new TLS connection each."""
    words = ("--new", "--connections", _CONNECTIONS)
    yield _compare(fleet, "unchanged check-in, new TLS", *words)


def check_in_with_resumed_tls(fleet: SimulatedFleet) -> Iterator[Row]:
    """Unchanged check-ins with a new connection that resumes a TLS session."""
    words = ("--new", "--resume", "--connections", _CONNECTIONS)
    yield _compare(fleet, "unchanged check-in, resumed TLS", *words)


def long_poll(fleet: SimulatedFleet) -> Iterator[Row]:
    """Agents keep long polls open that end without a change."""
    count = min(fleet.count, _MOST_POLLS)
    seconds = f"{_POLL_SECONDS}s"
    words = ("--count", count, "--wait", seconds, "--duration", f"{3 * _POLL_SECONDS}s")
    row = _measure(fleet, "long poll", "poll", *words, "--connections", _CONNECTIONS)
    yield replace(row, note=f"{count} polls of {seconds} open")


def archive(fleet: SimulatedFleet) -> Iterator[Row]:
    """Agents fetch the archive of their bundle and check its digest."""
    words = ("--count", min(fleet.count, _MOST_REPORTERS), "--connections", _CONNECTIONS)
    yield _measure(fleet, "archive", "archive", "--warm", *words, "--duration", _LOAD_SECONDS)


def report(fleet: SimulatedFleet) -> Iterator[Row]:
    """Agents report a changed deployment, and everything."""
    count = min(fleet.count, _MOST_REPORTERS)
    agents = ("--count", count, "--connections", _CONNECTIONS)
    words = ("--warm", *agents, "--duration", _LOAD_SECONDS)
    yield _measure(fleet, "report of a changed deployment", "report", *words)
    yield _measure(fleet, "full report", "report", "--full", *words)


def follow(fleet: SimulatedFleet) -> Iterator[Row]:
    """A commit for all agents, which wait in long polls, or check in once a minute where there are
    too many for that. The latency is the time from the push to the agent's document.
    """
    polls = fleet.count <= _MOST_POLLS
    words = ["--wait", "60s"] if polls else ["--interval", "60s", "--new"]
    bystanders = _bystanders(fleet)
    words += ["--first", str(bystanders), "--connections", str(_CONNECTIONS)]
    run = fleet.start_verb("follow", *words, "--duration", f"{_FOLLOW_SECONDS}s")
    run.wait_ready()
    before = fleet.usage()
    with _bystander_load(fleet, bystanders) as load:
        commit, begin = fleet.push(), time.time()
        run.write_line(f"{commit} {begin}")
        fleet.sync()
        result = run.wait()
    after = fleet.usage()
    agents = result["agents"]
    result["rate"] = 1000 * agents / max(1.0, result["max"])
    cpu = 1000 * (after.cpu_seconds - before.cpu_seconds) / agents
    note = f"missing {result['missing']}; by {'long polls' if polls else 'check-ins in 60 s'}"
    yield Row("commit to the document", result, cpu, after.resident_bytes, note=note)
    yield Row("  other check-ins meanwhile", load.wait(), 0.0, after.resident_bytes)


def storm(fleet: SimulatedFleet) -> Iterator[Row]:
    """kill -9, a new start, and all agents come back at once with new connections."""
    fleet.kill()
    begin = time.time()
    fleet.start()
    words = ("--rate", _STORM_RATE, "--connections", 4 * _CONNECTIONS, "--since", begin)
    row = _measure(fleet, f"storm after kill -9, {_STORM_RATE}/s", "storm", *words)
    note = f"first answer {row.result.get('firstAnswer', 0) / 1000:.2f} s after the start"
    yield replace(row, note=f"{note}, unanswered {row.result['unanswered']}")


def slow(fleet: SimulatedFleet) -> Iterator[Row]:
    """Check-ins of other agents while many clients are slow or lose their connections."""
    bystanders = _bystanders(fleet)
    words = ("--first", bystanders, "--connections", 20, "--duration", _LOAD_SECONDS)
    run = fleet.start_verb("slow", *(str(word) for word in words))
    with _bystander_load(fleet, bystanders) as load:
        result = run.wait()
    opened = sum(result["opened"].values())
    note = f"{opened} bad connections, {result['refused']} refused"
    yield Row(
        "check-ins beside bad clients", load.wait(), 0.0, fleet.usage().resident_bytes, 0.0, note
    )


SCENARIOS: dict[str, Callable[[SimulatedFleet], Iterator[Row]]] = {
    "document": fetch_documents,
    "kept": check_in_on_open_connections,
    "new": check_in_with_new_tls,
    "resume": check_in_with_resumed_tls,
    "poll": long_poll,
    "archive": archive,
    "report": report,
    "follow": follow,
    "slow": slow,
    "storm": storm,
}


def _bystanders(fleet: SimulatedFleet) -> int:
    """The first agents are not part of a disturbance, and show what others notice of it."""
    return max(1, fleet.count // 20)


@contextmanager
def _bystander_load(fleet: SimulatedFleet, count: int) -> Iterator[FleetsimRun]:
    """Check-ins of the bystanders at a fixed rate, until the block ends."""
    words = ("--count", count, "--rate", _BYSTANDER_RATE, "--connections", min(count, 32))
    run = fleet.start_verb("checkin", *(str(word) for word in words))
    try:
        yield run
    finally:
        run.interrupt()


def _measure(fleet: SimulatedFleet, name: str, verb: str, *words: object) -> Row:
    return _measure_process(fleet, fleet.manager.process.pid, name, verb, *words)


def _measure_process(fleet: SimulatedFleet, pid: int, name: str, verb: str, *words: object) -> Row:
    """Run the subcommand and count the CPU time of the server `pid` meanwhile."""
    run = fleet.start_verb(verb, *(str(word) for word in words))
    if "--warm" in words:
        run.wait_ready()
    before = usage_of_tree(pid)
    if "--warm" in words:
        run.write_line("begin")
    result = run.wait()
    after = usage_of_tree(pid)
    cpu = 1000 * (after.cpu_seconds - before.cpu_seconds) / max(1, result["ok"])
    return Row(name, result, cpu, after.resident_bytes)


def _compare(fleet: SimulatedFleet, name: str, *words: object) -> Row:
    """Check in with the manager, and with the Go server."""
    load = (*words, "--duration", _LOAD_SECONDS)
    row = _measure(fleet, name, "checkin", *load)
    with fleet.peer() as peer:
        peer_row = _measure_process(fleet, peer.pid, name, "checkin", *load, "--url", peer.url)
    note = f"Go {peer_row.result['rate']:.0f}/s"
    if peer_row.result["errors"]:
        note += f" errors {peer_row.result['errors']}"
    return Row(name, row.result, row.cpu, row.resident_bytes, peer_row.cpu, note)
