"""The scenarios of `make sim`. Each yields the rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.sim.process_usage import usage_of_tree
from tests.sim.simulator import Result, SimulatedFleet

_CHECK_IN_SECONDS = "15s"
_CONNECTIONS = 64
_MOST_CONNECTIONS = 4000


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
    """Enrol every agent over the wire."""
    words = ("--count", fleet.count, "--token-file", fleet.create_token())
    yield _measure(fleet, "enrolment", "enrol", *words, "--connections", 32)


def first_check_in(fleet: SimulatedFleet) -> Iterator[Row]:
    """Every agent gets its first document."""
    words = ("--requests", fleet.count, "--new", "--connections", _CONNECTIONS)
    yield _measure(fleet, "first document, new TLS", "checkin", *words)


def kept_check_in(fleet: SimulatedFleet) -> Iterator[Row]:
    """Unchanged check-ins on connections that stay open."""
    connections = min(fleet.count, _MOST_CONNECTIONS)
    words = ("--warm", "--connections", connections, "--stay", 1)
    yield _compare(fleet, "unchanged check-in, kept", *words)


def new_check_in(fleet: SimulatedFleet) -> Iterator[Row]:
    """Unchanged check-ins with a new TLS connection each."""
    words = ("--new", "--connections", _CONNECTIONS)
    yield _compare(fleet, "unchanged check-in, new TLS", *words)


def resumed_check_in(fleet: SimulatedFleet) -> Iterator[Row]:
    """Unchanged check-ins with a new connection that resumes a TLS session."""
    words = ("--new", "--resume", "--connections", _CONNECTIONS)
    yield _compare(fleet, "unchanged check-in, resumed TLS", *words)


SCENARIOS: dict[str, Callable[[SimulatedFleet], Iterator[Row]]] = {
    "enrol": enrol,
    "first": first_check_in,
    "kept": kept_check_in,
    "new": new_check_in,
    "resume": resumed_check_in,
}


def _measure(fleet: SimulatedFleet, name: str, verb: str, *words: object) -> Row:
    return _measure_process(fleet, fleet.manager.process.pid, name, verb, *words)


def _measure_process(fleet: SimulatedFleet, pid: int, name: str, verb: str, *words: object) -> Row:
    """Run the subcommand and count the CPU time of the server `pid` meanwhile."""
    run = fleet.start_verb(verb, *(str(word) for word in words))
    if "--warm" in words:
        run.next_result()
    before = usage_of_tree(pid)
    if "--warm" in words:
        run.write_line("begin")
    result = run.wait()
    after = usage_of_tree(pid)
    cpu = 1000 * (after.cpu_seconds - before.cpu_seconds) / max(1, result["ok"])
    return Row(name, result, cpu, after.resident_bytes)


def _compare(fleet: SimulatedFleet, name: str, *words: object) -> Row:
    """Check in with the manager, and with the Go server."""
    load = (*words, "--duration", _CHECK_IN_SECONDS)
    row = _measure(fleet, name, "checkin", *load)
    with fleet.peer() as peer:
        peer_row = _measure_process(fleet, peer.pid, name, "checkin", *load, "--url", peer.url)
    note = f"Go {peer_row.result['rate']:.0f}/s"
    if peer_row.result["errors"]:
        note += f" errors {peer_row.result['errors']}"
    return Row(name, row.result, row.cpu, row.resident_bytes, peer_row.cpu, note)
