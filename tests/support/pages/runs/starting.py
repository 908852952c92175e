"""README.md and docs/quickstart.md: from nothing to a deployed commit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.support.pages.shell import blocks
from tests.support.pages.stage import PageRun, Result
from tests.support.pages.workplace import MAP, Workplace, check_bundles

_APPS = {
    "web/fleet.yaml": "defaultNamespace: quickstart\n",
    "web/m.yaml": MAP.format(name="web", value=1),
}


class FirstManager:
    """A manager that the page starts, and a node that a person pastes lines on."""

    def __init__(self, place: Workplace) -> None:
        self.place, self.computer = place, place.computer
        self.names = place.serve_names()
        self.data_dir = Path(self.names["/var/lib/fleet-manager"])
        place.clone.push(_APPS)

    def put_agent_file(self, agent_file: Path) -> None:
        """What `make agent` leaves in the clone."""
        target = self.computer.folder / "dist" / "fleet-agent.pyz"
        target.parent.mkdir()
        shutil.copyfile(agent_file, target)

    def login_line(self) -> str:
        """As the manager prints it at its first start."""
        log = (self.computer.home / "daemon-0.log").read_text()
        lines = re.findall(r"^fleetctl login .*$", log, re.MULTILINE)
        assert len(lines) == 1, log
        return str(lines[0])

    def log_in(self) -> None:
        result = self.computer.run(self.login_line())
        assert result.status == 0, result

    def compare_login_line(self, page: str) -> None:
        """The page shows the line that the manager prints."""
        line = self.login_line()
        pin = re.findall(r"--ca-pin (\S+)", line)[0]
        self.names["9f2c…"] = pin
        line_of_page = re.search(r"^fleetctl login .*$", page, re.MULTILINE)
        assert line_of_page
        text = line_of_page[0]
        for name in sorted(self.names, key=len, reverse=True):
            text = text.replace(name, self.names[name])
        assert text == line

    def paste(self, result: Result, kubeconfig: Path) -> None:
        """Run the printed lines as root on the node, without the alternative at their end."""
        lines = result.out.partition("#    or as a plain process")[0]
        node = self.computer.home / "node"
        node.mkdir(exist_ok=True)
        names = {"/var/lib/fleet-agent": f"{node}/state", "/usr/local/bin/": f"{node}/"}
        for name, value in names.items():
            lines = lines.replace(name, value)
        result_on_node = self.computer.run(f"export KUBECONFIG={kubeconfig}\n{lines}")
        assert result_on_node.status == 0, (lines, result_on_node)


def readme(place: Workplace) -> PageRun:
    manager = FirstManager(place)
    data = "--data-dir /var/lib/fleet-manager"
    listen = manager.names.pop("--listen 0.0.0.0:7443")
    return PageRun(
        "README.md",
        place.computer,
        {data: f"--data-dir {manager.data_dir} {listen}"},
        before=[("fleetctl gitrepo add", manager.log_in)],
        daemons={"sudo fleet-manager serve": "fleetctl login "},
    )


def quickstart(place: Workplace, kubeconfig: Path, agent_file: Path) -> PageRun:
    page = "docs/quickstart.md"
    manager = FirstManager(place)
    computer, clone = place.computer, place.clone

    def enter_clone() -> None:
        computer.folder = clone.folder

    def write_clusters() -> None:
        (clone.folder.parent / "clusters.yaml").write_text(blocks(page, "yaml")[0])

    line_of_page = next(text for text in blocks(page, "") if text.startswith("fleetctl login"))
    return PageRun(
        page,
        computer,
        manager.names,
        before=[
            ("sudo install", lambda: manager.put_agent_file(agent_file)),
            ("fleetctl login", lambda: manager.compare_login_line(line_of_page)),
            ("fleetctl validate", enter_clone),
            ("fleetctl targets", write_clusters),
        ],
        daemons={"sudo fleet-manager serve": "fleetctl login "},
        after=[
            ("fleetctl targets", lambda result: check_bundles(result, {"clone-web"})),
            ("fleetctl cluster register", lambda result: manager.paste(result, kubeconfig)),
        ],
    )
