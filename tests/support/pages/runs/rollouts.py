"""docs/rollouts.md: a rollout, windows, and the way back, on three clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.fleet import Fleet
from tests.support.pages.shell import blocks
from tests.support.pages.stage import PageRun
from tests.support.pages.workplace import GIT_HOST, MAP, Workplace

_CANARY = "partitions: [{name: canary, clusterSelector: {matchLabels: {canary: 'yes'}}}]"
_CLUSTERS: dict[str, dict[str, str]] = {
    "paris": {"canary": "yes"},
    "paris-4": {"region": "eu"},
    "paris-7": {"region": "eu"},
}
_CLOSED_WINDOW = """
apiVersion: fleet.cattle.io/v1alpha1
kind: Schedule
metadata: {name: closed, namespace: fleet-default}
spec:
  schedule: 0 0 * * *
  duration: 24h
  deny: true
  targets: {clusters: [{clusterSelector: {}}]}
"""


class RolloutDesk:
    """Pushes revisions of the bundle `web` and waits for what its rollout does."""

    def __init__(self, place: Workplace, fleet: Fleet) -> None:
        self.place, self.computer, self.fleet = place, place.computer, fleet
        self.value = 0
        for name, labels in _CLUSTERS.items():
            fleet.agent(name, None, target_dir=place.computer.home / name, **labels)
        self.push()
        fleet.gitrepo(f"{GIT_HOST}apps.git")
        self.wait_until_ready()
        self.push()
        self.wait_until_ready()
        self.push(approval=True)
        self.wait_for_approval()

    def push(self, *, approval: bool = False) -> str:
        self.value += 1
        strategy = f"{{{'approval: first, ' if approval else ''}{_CANARY}}}"
        files = {
            "web/fleet.yaml": f"name: web\nrolloutStrategy: {strategy}\n",
            "web/m.yaml": MAP.format(name="web", value=self.value),
        }
        return self.place.clone.push(files)

    def say(self, line: str) -> None:
        result = self.computer.run(line)
        assert result.status == 0, result

    def rollout(self) -> dict[str, Any]:
        items = self.fleet.call("GET", "rollouts?workspace=fleet-default&bundle=web")["items"]
        return dict(items[0]["status"]) if items else {"display": {"state": ""}, "commit": ""}

    def wait_until_ready(self) -> None:
        """The newest commit, or the pinned revision, is on every cluster."""
        head = self.place.clone.git("rev-parse", "HEAD")
        self.fleet.until(
            self.rollout,
            lambda status: status["display"]["state"] == "Completed" and status["commit"] == head,
        )
        self.fleet.all_ready(bundles=len(_CLUSTERS))

    def wait_until_settled(self) -> None:
        """No rollout is on its way, and every cluster is Ready or OutOfSync."""
        expected = {"Ready", "OutOfSync"}
        self.fleet.until(self.rollout, lambda status: status["display"]["state"] == "Completed")
        self.fleet.until(self.fleet.states, lambda states: set(states.values()) <= expected)

    def wait_for_approval(self) -> None:
        head = self.place.clone.git("rev-parse", "HEAD")
        self.fleet.until(
            lambda: (self.rollout()["commit"], self.fleet.call("GET", "status")["rollouts"]),
            lambda status: status[0] == head and any(i["waitsForYou"] for i in status[1]["items"]),
        )

    def start_another(self) -> None:
        """The approved rollout ends, and the next commit waits for a person."""
        self.wait_until_ready()
        self.push(approval=True)
        self.wait_for_approval()

    def push_in_pipeline(self) -> None:
        self.computer.env["SHA"] = self.push()

    def close_window(self) -> None:
        """The Schedules of the page depend on the day; one that is always closed does not."""
        self.say("fleetctl delete schedule --all --yes")
        file = Path(self.computer.folder) / "closed.yaml"
        file.write_text(_CLOSED_WINDOW)
        self.say("fleetctl apply -f closed.yaml")
        self.push()
        self.fleet.until(
            self.fleet.states, lambda states: set(states.values()) == {"WaitingForWindow"}
        )

    def open_window(self) -> None:
        self.wait_until_ready()
        self.say("fleetctl delete schedule closed --yes")


def check_yaml(place: Workplace) -> None:
    """What the page shows of a fleet.yaml and of a Schedule is valid."""
    strategy, schedule = blocks("docs/rollouts.md", "yaml")
    folder = place.computer.folder
    (folder / "shown").mkdir()
    (folder / "shown" / "fleet.yaml").write_text(strategy)
    (folder / "shown" / "m.yaml").write_text(MAP.format(name="shown", value=1))
    (folder / "nightly.yaml").write_text(schedule)
    for line in ("fleetctl validate --strict shown", "fleetctl schedule preview nightly.yaml"):
        result = place.computer.run(line)
        assert result.status == 0, result


def rollouts(place: Workplace, fleet: Fleet) -> PageRun:
    check_yaml(place)
    desk = RolloutDesk(place, fleet)
    return PageRun(
        "docs/rollouts.md",
        place.computer,
        before=[
            ("fleetctl rollout approve web", desk.wait_for_approval),
            ("fleetctl rollout abort web", desk.start_another),
            ("fleetctl wait gitrepo/apps", desk.push_in_pipeline),
            ("fleetctl rollout ignore-windows web", desk.close_window),
            ("fleetctl bundle history web", desk.open_window),
            ("fleetctl rollback web --to 3", desk.wait_until_settled),
            ("fleetctl rollback web --release", desk.wait_until_settled),
            ("fleetctl rollback web --cluster paris-4 --dry-run", desk.wait_until_ready),
            ("fleetctl rollback web -l region=eu", desk.wait_until_settled),
            ("fleetctl rollback web --partition canary", desk.wait_until_settled),
            ("fleetctl rollback web --release --cluster paris-4", desk.wait_until_settled),
            ("fleetctl rollback web --release --all", desk.wait_until_settled),
        ],
    )
