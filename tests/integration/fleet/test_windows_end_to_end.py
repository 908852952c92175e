"""A window through the real manager, a real agent and the command line, by the clock of this
machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.servers.gitserver import GitServer
from tests.support.cli.person import Person
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\n  a: '{value}'\n"
SCHEDULE = """apiVersion: fleet.cattle.io/v1alpha1
kind: Schedule
metadata: {{name: soon}}
spec:
  schedule: {opens:%S %M %H %d %m} ? {opens:%Y}
  duration: 10m
  targets: {{clusters: [{{clusterName: a}}]}}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    (tmp_path / "git").mkdir()
    with GitServer(tmp_path / "git") as server:
        yield Clone(server, "apps", tmp_path / "clone")


def test_a_commit_waits_for_the_window_and_then_goes(
    clone: Clone, tmp_path: Path, tool_env: dict[str, str]
) -> None:
    """Held and said so by every command that shows it; when the window opens it goes by itself; the
    other cluster has it.
    """
    fleet = Fleet(tmp_path / "fleet", tool_env)
    try:
        clone.push({"m.yaml": MAP.format(value=1)})
        fleet.gitrepo(clone.url)
        places = {name: tmp_path / name for name in ("a", "b")}
        for name, place in places.items():
            fleet.agent(name, None, target_dir=place)
        person = Person(tmp_path)
        pin, token = fleet.manager.ca_pin, str(fleet.manager.data_dir / "admin.token")
        person.good("login", fleet.manager.url, "--ca-pin", pin, "--token-file", token)

        def held() -> dict[str, str]:
            return {
                name: next((p.read_text() for p in place.glob("*.yaml")), "")
                for name, place in places.items()
            }

        fleet.until(held, lambda files: all("'1'" in text for text in files.values()))
        opens = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        assert (
            person.good("apply", "-f", "-", stdin=SCHEDULE.format(opens=opens))
            == "schedule/soon created\n"
        )
        row = person.good("get", "schedules", "--no-headers").split()
        assert row[0] == "soon"
        assert row[-1] == opens.isoformat()
        clone.push({"m.yaml": MAP.format(value=2)})
        why = f"window soon opens at {opens.isoformat()} (UTC)"
        fleet.until(lambda: fleet.states().get("a.apps"), lambda state: state == "WaitingForWindow")
        fleet.until(held, lambda files: "'2'" in files["b"])
        assert why in person.good("bundle", "list")
        assert why in person.good("rollout", "status", "apps")
        assert why in person.run("why", "a", "apps").out
        assert "'1'" in held()["a"]
        opens = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=8)
        assert (
            person.good("apply", "-f", "-", stdin=SCHEDULE.format(opens=opens))
            == "schedule/soon configured\n"
        )
        fleet.until(held, lambda files: "'2'" in files["a"])
        assert datetime.now(UTC) >= opens
        fleet.all_ready(bundles=2)
        assert person.good("schedule", "delete", "soon", "--yes") == "schedule/soon deleted\n"
    finally:
        fleet.stop()
