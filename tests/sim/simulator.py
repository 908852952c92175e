"""A manager as a user starts it, and fleetsim, which plays its agents."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from examples.demo.parts import DemoManager, free_port
from tests.servers.gitserver import GitServer
from tests.sim.binary import build_fleetsim
from tests.sim.process_usage import ProcessUsage, usage_of_tree
from tests.support.gitrepo import Clone

Result = dict[str, Any]  # one line of JSON of fleetsim
WORKSPACE, REPOSITORY, BUNDLE = "fleet-default", "apps", "apps-web"
_START_SECONDS = 120.0
_MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: web}}
data: {{version: '{version}', text: {padding}}}
"""


class FleetsimError(RuntimeError):
    """fleetsim ended with an error."""


class SimulatedFleet:
    """`count` agents of one manager with one bundle for all of them. Everything is below
    `folder`.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.binary = build_fleetsim()
        self.manager = DemoManager(folder, dict(os.environ), "--poll-seconds", "3600")
        self.start_seconds = 0.0
        self._git = GitServer(folder / "git")
        self._git.start()
        self.clone = Clone(self._git, "apps", folder / "clone")
        self._version = 0
        self._runs: list[FleetsimRun] = []

    def start(self) -> None:
        """Start the manager; `start_seconds` is the time until it answers."""
        begin = time.monotonic()
        self.manager.start(_START_SECONDS)
        self.start_seconds = time.monotonic() - begin

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        self.manager.process.kill()

    def stop(self) -> None:
        for run in self._runs:
            run.stop()
        self.manager.process.stop()
        self._git.stop()

    @property
    def ca_file(self) -> Path:
        return self.manager.data_dir / "tls" / "ca.pem"

    @property
    def identities(self) -> Path:
        return self.folder / "identities"

    @property
    def journal(self) -> Path:
        return self.folder / "acknowledged.log"

    def usage(self) -> ProcessUsage:
        """Of the manager's processes, since the last start."""
        return usage_of_tree(self.manager.process.pid)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API of people as the administrator. Raises httpx.HTTPError."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        headers = {"authorization": f"Bearer {self.manager.admin_token}"}
        with httpx.Client(verify=context, headers=headers, timeout=120) as client:
            answer = client.request(method, f"{self.manager.url}/api/v1/{path}", json=body)
            answer.raise_for_status()
            return answer.json()

    def create_token(self) -> Path:
        """Create a ClusterRegistrationToken for all agents. Returns the file with its value."""
        document = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "ClusterRegistrationToken",
            "metadata": {"name": "sim", "namespace": WORKSPACE},
            "spec": {"ttl": "24h", "uses": min(1_000_000, 2 * self.count)},
        }
        path = f"objects/clusterregistrationtokens/{WORKSPACE}/sim"
        token_file = self.folder / "registration.token"
        token_file.write_text(self.call("PUT", path, document)["token"])
        return token_file

    def create_repository(self) -> str:
        """Create the GitRepo with the bundle. Returns the commit after it was scanned."""
        commit = self.push()
        document = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "GitRepo",
            "metadata": {"name": REPOSITORY, "namespace": WORKSPACE},
            "spec": {
                "repo": self.clone.url,
                "paths": ["web"],
                "targets": [{"name": "all", "clusterSelector": {}}],
            },
        }
        self.call("PUT", f"objects/gitrepos/{WORKSPACE}/{REPOSITORY}", document)
        self.wait_scanned(commit)
        return commit

    def push(self) -> str:
        """Commit another version of the bundle for all clusters at once."""
        self._version += 1
        manifest = _MANIFEST.format(version=self._version, padding="x" * 2000)
        strategy = "rolloutStrategy: {maxUnavailable: 100%, maxUnavailablePartitions: 100%}\n"
        files = {"web/m.yaml": manifest, "web/fleet.yaml": "defaultNamespace: web\n" + strategy}
        return self.clone.push(files)

    def sync(self) -> None:
        """Let the manager look at Git now."""
        self.call("POST", f"gitrepos/{WORKSPACE}/{REPOSITORY}/sync")

    def wait_scanned(self, commit: str, seconds: float = 120.0) -> None:
        """Raises TimeoutError with the last status."""
        end = time.monotonic() + seconds
        while True:
            document = self.call("GET", f"objects/gitrepos/{WORKSPACE}/{REPOSITORY}")
            if document["status"].get("commit") == commit:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"commit {commit} was not scanned: {document['status']}")
            time.sleep(0.1)

    def hand_out(self, count: int) -> None:
        """Let agents check in until the documents of so many clusters have the bundle: a rollout
        does not change a cluster that was silent for too long. Raises TimeoutError.
        """
        interval = min(900, max(60, self.count // 200))  # as the manager asks of its agents
        words = ("--new", "--rate", max(10.0, self.count / interval), "--count", count)
        run = self.start_verb("checkin", *words)
        try:
            self._wait_deployments(count)
        finally:
            run.interrupt()
            run.wait()

    def _wait_deployments(self, count: int, seconds: float = 1800.0) -> None:
        end = time.monotonic() + seconds
        while True:
            states: dict[str, int] = self.call("GET", "status")["deployments"]
            if sum(states.values()) - states.get("Pending", 0) >= count:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{count} deployments are not handed out: {states}")
            time.sleep(1)

    def start_verb(self, verb: str, *words: str | Path | float) -> FleetsimRun:
        """Start a subcommand of fleetsim with the addresses and files of this fleet."""
        argv = [str(self.binary), verb, "--identities", str(self.identities)]
        argv += ["--url", self.manager.url, "--ca", str(self.ca_file)]
        if verb != "peer":
            argv += ["--log", str(self.journal)]
        run = FleetsimRun([*argv, *(str(word) for word in words)])
        self._runs = [other for other in self._runs if other.is_running] + [run]
        return run

    def run(self, verb: str, *words: str | Path | float) -> Result:
        """The last result line of a subcommand. Raises FleetsimError."""
        return self.start_verb(verb, *words).wait()

    def check(self) -> Result:
        """Compare the journal with what the manager has. Raises FleetsimError for a finding."""
        return self.run("check", "--token-file", self.manager.data_dir / "admin.token")

    @contextmanager
    def peer(self) -> Iterator[FleetsimRun]:
        """The Go server for comparison, with the certificate of the manager."""
        folder = self.manager.data_dir / "tls"
        files = ("--cert", folder / "server.pem", "--key", folder / "server.key")
        peer = self.start_verb("peer", *files, "--listen", f"127.0.0.1:{free_port()}")
        try:
            peer.url = peer.next_result()["url"]
            yield peer
        finally:
            peer.stop()


class FleetsimRun:
    """One subcommand that runs. `results` are the lines that it has printed."""

    def __init__(self, argv: list[str]) -> None:
        self.results: list[Result] = []
        self.url = ""  # of a peer
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._news = threading.Condition()
        self._is_done = False
        self._errors = ""
        self._readers = [
            threading.Thread(target=self._read_results, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def _read_results(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.results.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._is_done = True
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors = self._process.stderr.read()

    def next_result(self, seconds: float = 120.0) -> Result:
        """The next line that was not returned before. Raises FleetsimError."""
        with self._news:
            self._news.wait_for(lambda: bool(self.results) or self._is_done, seconds)
            if not self.results:
                raise FleetsimError(f"fleetsim printed nothing: {self._errors[-2000:]}")
            return self.results.pop(0)

    def wait_ready(self, seconds: float = 1200.0) -> None:
        """Wait until it has prepared and waits for a line. Raises FleetsimError."""
        while self.next_result(seconds)["verb"] != "ready":
            pass

    def write_line(self, line: str) -> None:
        """Send a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def wait(self) -> Result:
        """Wait for the end. Returns the last line. Raises FleetsimError."""
        status = self._process.wait()
        for reader in self._readers:
            reader.join()
        self._close()
        if status or not self.results:
            raise FleetsimError(f"fleetsim ended with {status}: {self._errors[-2000:]}")
        return self.results[-1]

    def interrupt(self) -> None:
        """Let it print its result and end."""
        self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        self._close()

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
