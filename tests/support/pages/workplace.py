"""What the pages take for granted: a Git server, a repository, and a fleet with some clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.demo.parts import free_port
from tests.servers.gitserver import GitServer
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone
from tests.support.pages.shell import ROOT
from tests.support.pages.stage import Computer, Result

GIT_HOST = "https://git.example.com/"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: '{value}'}}\n"


@dataclass(frozen=True)
class Workplace:
    """A Git server at `GIT_HOST`, a clone of its repository `apps`, and a person's computer."""

    computer: Computer
    clone: Clone
    mirror: str
    port: int

    def serve_names(self) -> dict[str, str]:
        """The names of a page that starts the manager itself."""
        data = str(self.computer.home / "manager")
        url = f"https://127.0.0.1:{self.port}"
        listen = f"--listen 127.0.0.1:{self.port} --mirror {self.mirror}"
        return {
            "/var/lib/fleet-manager": data,
            "https://fleet.example.com:7443": url,
            "--listen 0.0.0.0:7443": listen,
        }

    def log_in(self, url: str, ca_pin: str, token_file: Path) -> None:
        line = f"fleetctl login {url} --ca-pin {ca_pin} --token-file {token_file}"
        result = self.computer.run(line)
        assert result.status == 0, result


@contextmanager
def workplace(folder: Path, tools: Mapping[str, str]) -> Iterator[Workplace]:
    (folder / "git").mkdir()
    computer = Computer(folder / "home", tools)
    with GitServer(folder / "git") as server:
        clone = Clone(server, "apps", folder / "clone")
        # A page that shows files of `examples` is read in the checkout.
        (computer.folder / "examples").symlink_to(ROOT / "examples")
        try:
            yield Workplace(computer, clone, f"{GIT_HOST}={server.base}", free_port())
        finally:
            computer.stop()


@contextmanager
def running_fleet(workplace: Workplace, folder: Path, tools: Mapping[str, str]) -> Iterator[Fleet]:
    """A manager with which the person is logged in."""
    fleet = Fleet(folder / "fleet", tools, "--mirror", workplace.mirror, port=workplace.port)
    try:
        manager = fleet.manager
        workplace.log_in(manager.url, manager.ca_pin, manager.data_dir / "admin.token")
        yield fleet
    finally:
        fleet.stop()


def check_bundles(result: Result, bundles: set[str]) -> None:
    """`fleetctl targets` lists these bundles and no other."""
    rows = [line.split() for line in result.out.splitlines()[1:]]
    assert {row[1] for row in rows} == bundles, result
