"""Agents that were written into the database are the same to the manager as enrolled agents."""

from __future__ import annotations

from pathlib import Path

from tests.sim.scenarios import prepare
from tests.sim.simulator import SimulatedFleet

AGENTS = 20


def test_prepared_agents_check_in(tmp_path: Path) -> None:
    fleet = SimulatedFleet(tmp_path, AGENTS)
    try:
        fleet.start()
        assert [row.result["ok"] for row in prepare(fleet)] == [AGENTS]
        result = fleet.run("report", "--requests", 2 * AGENTS)
        assert (result["ok"], result["errors"]) == (2 * AGENTS, {})
        assert fleet.check()["reported"] >= 2 * AGENTS
    finally:
        fleet.stop()
