"""A real Kubernetes API on loopback: one etcd, and a kube-apiserver for each cluster name.

    with LocalKube(directory, ["dev", "test", "prod"]) as kube:
        kube["dev"].kubeconfig, kube["dev"].url, kube["dev"].restart()

Rule: everything is in ``directory`` and listens on 127.0.0.1 only; all of it ends with this
process, unless it was started ``detached``: then it is recorded in ``directory/localkube.json`` and
ended with

    python3 -m tests.localkube.kubeapi stop DIRECTORY

One etcd serves all, each API server under its own prefix: measured, three cost 60 MB there instead
of 120 MB, and are ready 0.4 s later (3.4 s instead of 3.0 s on 2 cores). README.md has the figures.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.localkube import controllers
from tests.localkube.cluster import Cluster
from tests.localkube.daemon import Daemon
from tests.localkube.errors import LocalkubeError
from tests.localkube.keys import write_pair, write_private
from tests.localkube.process_identity import end, identity
from tests.localkube.toolchain import tools
from tests.localkube.toolchain.cache import say
from tests.localkube.toolchain.recipes import HERE

START_SECONDS = 90.0
RECORD = "localkube.json"


class LocalKube:
    """Clusters by name. A context manager; ``start`` and ``stop`` do the same by hand.

    ``controllers`` makes Deployments really become ready (three more processes for each cluster);
    ``player`` only has their status written, by one process for all. Both need nothing but what
    `make tools` has got. ``flags``: more of every kube-apiserver. ``took`` is the seconds that the
    start needed.
    """

    def __init__(
        self,
        directory: Path | str,
        names: Sequence[str] = ("dev", "test", "prod"),
        *,
        controllers: bool = False,
        player: bool = False,
        detached: bool = False,
        flags: Sequence[str] = (),
    ) -> None:
        for name in names:
            _check_name(name)
        self.directory = Path(directory).absolute()
        self.took = 0.0
        self._names, self._detached = list(dict.fromkeys(names)), detached
        self._controllers, self._player, self._flags = controllers, player, tuple(flags)
        self._clusters: dict[str, Cluster] = {}
        self._daemons: list[Daemon] = []
        self._etcd: Daemon | None = None

    def __getitem__(self, name: str) -> Cluster:
        return self._clusters[name]

    def __iter__(self) -> Iterator[Cluster]:
        return iter(self._clusters.values())

    def __len__(self) -> int:
        return len(self._clusters)

    def __enter__(self) -> LocalKube:
        return self.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not self._detached or error is not None:
            self.stop()

    def start(self, seconds: float = START_SECONDS) -> LocalKube:
        """Start everything and return when it is ready; NotReady, with log lines, after ``seconds``
        in all.
        """
        begun = time.monotonic()
        found = {name: tools.find(name) for name in self._needed()}
        if left := _alive(self.directory):
            raise LocalkubeError(
                f"{len(left)} processes of an earlier start run in {self.directory}: stop them"
                " first"
            )
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_pair(self.directory / "sa.key", self.directory / "sa.pub")
        try:
            self._start_all(found, begun + seconds)
        except BaseException:
            self.stop()
            raise
        self.took = time.monotonic() - begun
        return self

    def add(self, name: str, seconds: float = START_SECONDS) -> Cluster:
        """Start one more cluster beside those that run; returns when it is ready, NotReady after
        ``seconds``.
        """
        _check_name(name)
        if self._etcd is None:
            raise LocalkubeError("nothing runs: call start() before add()")
        if name in self._clusters:
            raise LocalkubeError(f"a cluster {name!r} runs already")
        found = {needed: tools.find(needed) for needed in self._needed()}
        deadline = time.monotonic() + seconds
        cluster = self._launch_cluster(name, found["kube-apiserver"], self._etcd)
        cluster.daemon.wait(deadline)
        for helper in self._helpers(found, [cluster]):
            self._launch(helper)
            helper.wait(deadline)
        self.record()
        return cluster

    def stop(self) -> None:
        """End everything that this object started."""
        # etcd last. The second SIGTERM, from stop(), makes the programs of Kubernetes exit without
        # lingering.
        for daemon in self._daemons[:0:-1]:
            daemon.terminate()
        for daemon in reversed(self._daemons):
            daemon.stop()
        self._daemons, self._clusters, self._etcd = [], {}, None
        (self.directory / RECORD).unlink(missing_ok=True)

    def record(self) -> None:
        """Write ``localkube.json``: what runs, and where each cluster is."""
        content = {
            "processes": [daemon.identity() for daemon in self._daemons if daemon.alive],
            "clusters": [
                {"name": c.name, "url": c.url, "kubeconfig": str(c.kubeconfig)}
                for c in self._clusters.values()
            ],
        }
        fresh = self.directory / f"{RECORD}.new"
        write_private(fresh, json.dumps(content, indent=1))
        fresh.replace(self.directory / RECORD)

    def _needed(self) -> list[str]:
        return ["etcd", "kube-apiserver", *(controllers.NAMES if self._controllers else ())]

    def _start_all(self, found: dict[str, tools.Tool], deadline: float) -> None:
        etcd = self._etcd = _etcd(self.directory, found["etcd"])
        self._launch(etcd)
        etcd.wait(deadline)
        for name in self._names:
            self._launch_cluster(name, found["kube-apiserver"], etcd)
        clusters = list(self._clusters.values())
        for cluster in clusters:
            cluster.daemon.wait(deadline)
        helpers = self._helpers(found, clusters)
        for helper in helpers:
            self._launch(helper)
        for helper in helpers:
            helper.wait(deadline)
        self.record()

    def _launch_cluster(self, name: str, tool: tools.Tool, etcd: Daemon) -> Cluster:
        argv = [*tool.argv, *self._flags]
        cluster = Cluster(
            name, self.directory / name, argv, lambda: f"http://127.0.0.1:{etcd.ports[0]}"
        )
        cluster.on_change = self.record
        self._clusters[name] = cluster
        self._launch(cluster.daemon)
        return cluster

    def _helpers(self, found: dict[str, tools.Tool], clusters: Sequence[Cluster]) -> list[Daemon]:
        """Of these clusters: controllers for each, or one player for all."""
        helpers = []
        if self._controllers:
            for cluster in clusters:
                controllers.add_node(cluster)
                helpers += controllers.daemons(cluster, found)
        if self._player and clusters:
            name = f"player-{clusters[0].name}"
            helpers.append(
                _player(name, self.directory, [str(cluster.kubeconfig) for cluster in clusters])
            )
        return helpers

    def _launch(self, daemon: Daemon) -> None:
        daemon.detached = self._detached
        self._daemons.append(daemon)
        daemon.launch()
        # Recorded at once: a start that is killed half-way can still be cleaned up.
        self.record()


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name) or name == "etcd":
        raise LocalkubeError(f"{name!r} is not a cluster name (a DNS label other than etcd)")


def _etcd(directory: Path, tool: tools.Tool) -> Daemon:
    def command(ports: Sequence[int]) -> list[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in ports)
        argv = [*tool.argv, "--data-dir", str(directory / "etcd"), "--log-level", "error"]
        argv += [
            "--listen-client-urls",
            client,
            "--advertise-client-urls",
            client,
            "--listen-peer-urls",
            peer,
        ]
        # Throwaway data: what a power cut would cost is not worth the syncs.
        return [*argv, "--unsafe-no-fsync"]

    def ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.ports[0], timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    daemon = Daemon("etcd", directory / "etcd.log", command, ready, 2)
    return daemon


def _player(name: str, directory: Path, kubeconfigs: list[str]) -> Daemon:
    # With -P and a path of its own the player starts from any working directory.
    home = str(HERE.parents[1])
    start = (
        f"import sys; sys.path.insert(0, {home!r}); from tests.localkube.status_player import main;"
        " sys.exit(main())"
    )
    argv = [sys.executable, "-P", "-c", start, *kubeconfigs]
    return Daemon(name, directory / f"{name}.log", lambda _: argv, lambda: True, 0)


def _alive(directory: Path, etcd: bool = True) -> dict[int, str]:
    """The recorded processes that still run, with or without etcd: pid and identity."""
    try:
        record = json.loads((directory / RECORD).read_text())
    except FileNotFoundError:
        return {}
    known = {
        int(process["pid"]): str(process["identity"])
        for process in record["processes"]
        if etcd or process["name"] != "etcd"
    }
    return {pid: text for pid, text in known.items() if identity(pid) == text}


def stop(directory: Path) -> int:
    """End what was started ``detached`` in the directory; returns how many processes were still
    alive.
    """
    # etcd last: an API server that cannot reach it does not end on SIGTERM.
    ended = end(_alive(directory, etcd=False)) + end(_alive(directory))
    (directory / RECORD).unlink(missing_ok=True)
    return ended


def main(arguments: Sequence[str] | None = None) -> int:
    """``start DIR`` (detached), ``stop DIR``, ``status DIR``."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.localkube.kubeapi", description=__doc__.splitlines()[0]
    )
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--names", default="dev,test,prod", help="the clusters to start")
    parser.add_argument(
        "--controllers", action="store_true", help="controllers, scheduler and kwok: real Pods"
    )
    parser.add_argument(
        "--player", action="store_true", help="only write the status that they would"
    )
    options = parser.parse_args(arguments)
    try:
        if options.action == "start":
            _start(options)
        elif options.action == "stop":
            say(f"ended {stop(options.directory)} processes of {options.directory}")
        else:
            alive = _alive(options.directory)
            say(f"{len(alive)} processes run in {options.directory}: {sorted(alive)}")
    except LocalkubeError as error:
        say(str(error))
        return error.exit_status
    return 0


def _start(options: argparse.Namespace) -> None:
    kube = LocalKube(
        options.directory,
        options.names.split(","),
        controllers=options.controllers,
        player=options.player,
        detached=True,
    )
    with kube:
        for cluster in kube:
            print(
                f"export KUBECONFIG={cluster.kubeconfig}  # {cluster.name}, {cluster.url}, pid"
                f" {cluster.pid}"
            )
        say(
            f"{len(kube)} API servers ready after {kube.took:.1f} s; logs and data in"
            f" {kube.directory}"
        )


if __name__ == "__main__":
    sys.exit(main())
