"""docs/operations.md: what an administrator types, as the sentences of the page show it."""

from __future__ import annotations

import shutil
from pathlib import Path

from examples.demo.parts import tail
from tests.support.fleet import Fleet
from tests.support.pages.stage import Result
from tests.support.pages.workplace import Workplace

# A command of the page -> words of its output. The order is that of the work, not of the page.
_WHILE_IT_RUNS = {
    "fleetctl token list": "admin",
    "fleetctl get crt": "No registration tokens",
    "fleetctl cluster list": "tier=edge",
    "fleet-agent check --url URL --ca-pin PIN": "certificate of the pinned CA",
    "fleet-agent status --state-dir DIR": "cluster  fleet-default/paris",
    "fleet-agent check --state-dir DIR": "Nothing stands in the way.",
    "fleetctl agent-release keygen release.key": "`fleet-agent run --release-key`",
    "fleetctl agent-release sign fleet-agent.pyz --key release.key": "fleet-agent.pyz.sig",
    "fleetctl agent-release add fleet-agent.pyz": "added",
    "fleetctl cluster upgrade-agent -l tier=edge --to 0.2.0 --max 5%": "1 cluster",
    "fleetctl cluster upgrade-agent NAME --off": "1 cluster",
    "fleetctl cluster get NAME": "tier=edge",
    "fleetctl cluster register NAME --replace": "fleet-agent enrol",
    "fleetctl cluster register NAME --helm": "helm upgrade --install fleet-agent",
}
_WHILE_IT_IS_STOPPED = {
    "fleet-manager epoch raise --data-dir DIR": "epoch 1 is now 2",
    "fleet-manager admin-token --data-dir DIR": "fleetctl login URL --token-file",
}
COMMANDS = (*_WHILE_IT_RUNS, *_WHILE_IT_IS_STOPPED)
_WITH_STATUS_1 = {
    # No cluster is on this computer, and the first token is still valid.
    "fleet-agent check --url URL --ca-pin PIN",
    "fleet-manager admin-token --data-dir DIR",
}


class Administrator:
    """Runs the commands of the page with the names of this fleet."""

    def __init__(self, place: Workplace, fleet: Fleet, agent_file: Path) -> None:
        self.place, self.fleet = place, fleet
        home = place.computer.home
        fleet.agent("paris", None, target_dir=home / "paris", tier="edge")
        shutil.copyfile(agent_file, place.computer.folder / "fleet-agent.pyz")
        self._wait_for_agent()

    def _wait_for_agent(self) -> None:
        """The agent has its first document, so that `check` finds nothing missing."""
        state_dir = self.fleet.agents["paris"].state_dir
        self.fleet.until(lambda: list(state_dir.glob("desired*")), bool)

    def run_all(self) -> None:
        state_dir = self.fleet.agents["paris"].state_dir
        for text, words in _WHILE_IT_RUNS.items():
            self._run(text, words, state_dir)
        self.fleet.manager.process.stop()
        for text, words in _WHILE_IT_IS_STOPPED.items():
            self._run(text, words, self.fleet.manager.data_dir)

    def _run(self, text: str, words: str, folder: Path) -> None:
        manager = self.fleet.manager
        names = {"URL": manager.url, "PIN": manager.ca_pin, "NAME": "paris", "DIR": str(folder)}
        line = " ".join(names.get(word, word) for word in text.split()).replace("0.2.0", "0.1.0")
        result = self.place.computer.run(line)
        assert result.status == (1 if text in _WITH_STATUS_1 else 0), (line, result)
        assert words in result.out + result.err, (line, result)

    def lose_secret_key(self) -> None:
        """`--accept-lost FILE`, once: the manager names it, and starts with it."""
        manager = self.fleet.manager
        (manager.data_dir / "secret.key").unlink()
        serve = f"fleet-manager serve --data-dir {manager.data_dir} --listen 127.0.0.1:0"
        result: Result = self.place.computer.run(serve)
        assert result.status != 0
        assert "--accept-lost secret.key" in result.err, result
        log = self.place.computer.start(f"{serve} --accept-lost secret.key", "event=listening")
        assert "lost file accepted" in tail(log)
