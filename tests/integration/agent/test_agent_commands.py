"""`fleet-agent check` and `status` as a person on a node types them, beside real agents, a real
manager and a real API server.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent.state import status_file
from examples.demo.parts import environment, free_port, program
from tests.localkube.kubeapi import LocalKube
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.cluster
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"


class Typed:
    """A command line's outcome."""

    def __init__(self, env: dict[str, str], *words: str, columns: int = 80) -> None:
        argv = program("fleet-agent", *words)
        done = subprocess.run(
            argv,
            env=environment({**env, "COLUMNS": str(columns)}),
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert "Traceback" not in self.err, shlex.join(words) + "\n" + self.err

    def findings(self) -> dict[str, Any]:
        """The last one of each `what`."""
        return {f["what"]: f for f in json.loads(self.out)}


def check(fleet: Fleet, state: Path, *more: str) -> Typed:
    return Typed(dict(fleet.env), "check", "--state-dir", str(state), "-o", "json", *more)


def wrong(found: dict[str, Any]) -> dict[str, str]:
    assert all(f["nextStep"] for f in found.values() if f["ok"] is not True), found
    return {what: f["said"] for what, f in found.items() if f["ok"] is False}


class TestCheck:
    def test_all_is_well(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
    ) -> None:
        """An agent at work is not disturbed; without it the manager is asked by the agent's own
        key, and stays at peace with it.
        """
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: check-well\n",
                "m.yaml": MAP.format(name="m", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        agent = fleet.agent("dev", kube["dev"].kubeconfig)
        fleet.all_ready(bundles=1)
        found = fleet.until(
            lambda: check(fleet, agent.state_dir),
            lambda c: c.findings()["manager"]["said"].startswith("answered the running agent"),
        )
        assert (found.status, wrong(found.findings())) == (0, {}), found.out
        assert (
            fleet.call("GET", "objects/clusters/fleet-default/dev")["status"]["agent"]["troubles"]
            == []
        )

        agent.process.stop()
        found = check(fleet, agent.state_dir)
        assert (found.status, wrong(found.findings())) == (0, {}), found.out
        assert found.findings()["manager"]["said"].startswith(
            "accepts this agent's key; its document names 1 bundles"
        )
        assert (
            found.findings()["releases"]["said"]
            == "1 of this agent, none in the middle of a change"
        )
        assert found.findings()["desired state"]["ok"] is True

        agent.process.start()
        clone.push({"m.yaml": MAP.format(name="m", value=2)})
        fleet.until(agent.process.log.read_text, lambda log: "generation 2" in log)
        assert "another agent" not in agent.process.log.read_text()

    def test_a_manager_that_is_away_or_has_forgotten_this_agent(
        self, fleet: Fleet, tmp_path: Path
    ) -> None:
        """Each is told apart: a key that is not known, a port on which nobody listens, a name that
        nobody has.
        """
        agent = fleet.agent("edge", None, target_dir=tmp_path / "out")
        fleet.until(agent.process.log.read_text, lambda log: "new desired state" in log)
        agent.process.stop()
        fleet.call("POST", "clusters/fleet-default/edge/register", {"labels": {}, "replace": True})
        found = wrong(check(fleet, agent.state_dir).findings())
        assert "does not know this agent's key" in found["manager"]

        fleet.manager.process.stop()
        found = wrong(check(fleet, agent.state_dir).findings())
        assert "accepts no connection" in found["network"]
        assert "Connection refused" in found["network"]
        assert set(found) == {"network"}

        path = agent.state_dir / "identity.json"
        path.write_text(path.read_text().replace("127.0.0.1", "manager.invalid"))
        assert (
            "manager.invalid does not resolve"
            in wrong(check(fleet, agent.state_dir).findings())["network"]
        )

    def test_another_server_in_the_managers_place(self, fleet: Fleet, tmp_path: Path) -> None:
        """TLS by somebody else's CA, and no TLS at all, are not the same."""
        agent = fleet.agent("edge", None, target_dir=tmp_path / "out")
        fleet.until(agent.process.log.read_text, lambda log: "new desired state" in log)
        agent.process.stop()
        other = Fleet(tmp_path / "other", fleet.env)
        path = agent.state_dir / "identity.json"
        mine = path.read_text()
        try:
            path.write_text(mine.replace(fleet.manager.url, other.manager.url))
            assert (
                "is not of the pinned CA" in wrong(check(fleet, agent.state_dir).findings())["TLS"]
            )
        finally:
            other.stop()
        with Portal() as url:
            path.write_text(mine.replace(fleet.manager.url, url))
            assert (
                "the handshake with 127.0.0.1 fails"
                in wrong(check(fleet, agent.state_dir).findings())["TLS"]
            )

    def test_before_the_enrolment(self, fleet: Fleet, kube: LocalKube) -> None:
        """--url and --ca-pin show whether `enrol` would work, and use no token."""
        url, pin, config = fleet.manager.url, fleet.manager.ca_pin, str(kube["dev"].kubeconfig)
        words = ("check", "-o", "json", "--kubeconfig", config, "--url", url, "--ca-pin")
        good = Typed(dict(fleet.env), *words, pin)
        assert (good.status, wrong(good.findings())) == (0, {}), good.out
        assert {"network", "CA pin", "TLS", "manager", "helm", "cluster", "rights"} <= set(
            good.findings()
        )
        bad = Typed(dict(fleet.env), *words, "ab" * 32)
        assert (
            bad.status,
            "is not the one that the CA pin names" in wrong(bad.findings())["CA pin"],
        ) == (1, True)
        none = Typed(dict(fleet.env), *words[:-1])
        assert "is not trusted on this machine" in wrong(none.findings())["TLS"]

    def test_a_captive_portal(self, fleet: Fleet, tmp_path: Path) -> None:
        """A page with status 200 is no manager, even behind a certificate that is trusted."""
        with Portal(certificate_of(fleet, tmp_path)) as url:
            found = Typed(
                dict(fleet.env),
                "check",
                "-o",
                "json",
                "--target-dir",
                str(tmp_path),
                "--url",
                url,
                "--ca-pin",
                fleet.manager.ca_pin,
            )
        assert "is not the one that the CA pin names" in wrong(found.findings())["CA pin"]

    def test_rights_that_are_too_narrow(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str], tmp_path: Path
    ) -> None:
        """What the bundles here need and the account has not is named; a login that is not taken is
        something else.
        """
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: check-rights\n",
                "m.yaml": MAP.format(name="m", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        agent = fleet.agent("dev", kube["dev"].kubeconfig)
        fleet.all_ready(bundles=1)
        agent.process.stop()
        config = json.loads(kube["dev"].kubeconfig.read_text())
        kubectl = ("kubectl", "--kubeconfig", str(kube["dev"].kubeconfig), "-n", "check-rights")
        subprocess.run(
            [*kubectl, "create", "serviceaccount", "poor"],
            env=tool_env,
            check=True,
            capture_output=True,
        )
        token = subprocess.run(
            [*kubectl, "create", "token", "poor"],
            env=tool_env,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        narrow = tmp_path / "narrow"
        for said, expected in (
            (token, "create secrets in namespace check-rights"),
            ("nobody", "does not take this agent's login (401)"),
        ):
            config["users"][0]["user"] = {"token": said}
            narrow.write_text(json.dumps(config))
            found = wrong(check(fleet, agent.state_dir, "--kubeconfig", str(narrow)).findings())
            assert expected in found.get("rights", "") + found.get("cluster", ""), found

    def test_text_for_people(self, fleet: Fleet, tmp_path: Path) -> None:
        """80 columns, a next step below what is wrong, and a last line that counts."""
        found = Typed(
            dict(fleet.env),
            "check",
            "--url",
            f"https://127.0.0.1:{free_port()}",
            "--target-dir",
            str(tmp_path),
        )
        lines = found.out.splitlines()
        assert found.status == 1
        assert max(map(len, lines)) <= 80
        at = next(i for i, line in enumerate(lines) if line.startswith("WRONG  network: "))
        assert any(line.startswith("       -> ") for line in lines[at : at + 4])
        assert lines[-1].startswith("1 thing stands in the way")


class TestStatus:
    def test_of_a_running_a_hanging_and_an_ended_agent(
        self, clone: Clone, fleet: Fleet, kube: LocalKube
    ) -> None:
        """From files alone: one that is stopped by SIGSTOP cannot answer, and is told from one that
        works.
        """
        clone.push({f"b{i}/m.yaml": MAP.format(name=f"status{i}", value=1) for i in range(3)})
        clone.push({"b2/m.yaml": "apiVersion: v1\nkind: NoSuchKind\nmetadata:\n  name: x\n"})
        fleet.gitrepo(clone.url, paths=[f"b{i}" for i in range(3)])
        agent = fleet.agent("dev", kube["dev"].kubeconfig)
        fleet.until(fleet.states, lambda s: sorted(s.values()) == ["ErrApplied", "Ready", "Ready"])
        words = ("status", "--state-dir", str(agent.state_dir))

        def seen() -> dict[str, Any]:
            return json.loads(Typed(dict(fleet.env), *words, "-o", "json").out)

        found = fleet.until(
            seen, lambda s: [b["state"] for b in s["bundles"]] == ["ErrApplied", "Ready", "Ready"]
        )
        assert (found["agent"], found["pid"], found["statesKnown"]) == (
            "running",
            agent.process.pid,
            True,
        )
        assert 0 <= found["contactSeconds"] < 60
        assert "NoSuchKind" in found["bundles"][0]["message"]
        shown = Typed(dict(fleet.env), *words).out
        assert max(map(len, shown.splitlines())) <= 80
        assert "answered" in shown

        os.kill(agent.process.pid, signal.SIGSTOP)
        try:
            old = time.time() - 300
            os.utime(status_file.live_file(agent.state_dir), (old, old))
            assert "HANGS: it holds the lock and gives no heartbeat for 5 min" in " ".join(
                Typed(dict(fleet.env), *words).out.split()
            )
            stuck = check(fleet, agent.state_dir).findings()
            assert "gives no heartbeat for 5 min" in wrong(stuck)["agent"]
        finally:
            os.kill(agent.process.pid, signal.SIGCONT)
        agent.process.kill()
        found = seen()
        assert (found["agent"], found["statesKnown"], len(found["bundles"])) == (
            "stopped",
            False,
            3,
        )

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("status", "--state-dir", "/nonexistent"), "error: /nonexistent is not enrolled"),
            (("run", "--state-dir", "/nonexistent"), "error: /nonexistent is not enrolled"),
            (("check",), "error: there is nothing to check"),
            (("check", "--url", "http://m:1"), "error: http://m:1 is not an https address"),
            (("check", "--url", "https://m:port"), "error: https://m:port is no address"),
            (("run", "--state-dir", "/nonexistent/x", "--enrol-url", "ftp://m"), "error: "),
            (("status", "--state-dir", "/dev/null"), "error: "),
        ],
    )
    def test_what_is_wrong_with_a_command_line_is_said_in_a_line(
        self, words: tuple[str, ...], said: str, tool_env: dict[str, str]
    ) -> None:
        """What, about what, and the next step: at most three lines, exit 2; and nothing is made."""
        found = Typed(tool_env, *words)
        assert found.err.startswith(said), found.err
        assert len(found.err.splitlines()) <= 3
        assert found.status in {1, 2}
        assert not Path("/nonexistent").exists()

    @pytest.mark.parametrize("words", [(), ("enrol",), ("run",), ("status",), ("check",)])
    def test_help_fits_a_terminal(self, words: tuple[str, ...], tool_env: dict[str, str]) -> None:
        """80 columns, exit 0; a wrong flag is usage and one line, exit 2."""
        found = Typed(tool_env, *words, "--help")
        assert (found.status, max(map(len, found.out.splitlines())) <= 80) == (0, True)
        bad = Typed(tool_env, *words, "--no-such-flag")
        assert bad.status == 2


class TestLog:
    def test_a_life_is_a_story_without_storms(
        self, clone: Clone, fleet: Fleet, kube: LocalKube, tool_env: dict[str, str]
    ) -> None:
        """Deployed, failed several times, mended, drifted, removed: each is there, a failure that
        repeats is not.
        """
        bad = MAP.format(name="life", value=1).replace("data:", "data:\n  b: {x: 1}")
        clone.push(
            {
                "fleet.yaml": "defaultNamespace: log-life\n",
                "m.yaml": MAP.format(name="life", value=1),
            }
        )
        fleet.gitrepo(clone.url)
        agent = fleet.agent("dev", kube["dev"].kubeconfig)
        log = agent.process.log
        fleet.all_ready(bundles=1)
        clone.push({"m.yaml": bad})
        fleet.until(fleet.states, lambda s: s == {"dev.apps": "ErrApplied"})
        time.sleep(12)
        clone.push({"m.yaml": MAP.format(name="life", value=2)})
        fleet.until(fleet.states, lambda s: s == {"dev.apps": "Ready"})
        kubectl = ("kubectl", "--kubeconfig", str(kube["dev"].kubeconfig), "-n", "log-life")
        subprocess.run(
            [*kubectl, "patch", "cm", "life", "-p", '{"data":{"a":"hand"}}'],
            env=tool_env,
            check=True,
            capture_output=True,
        )
        fleet.until(fleet.states, lambda s: s == {"dev.apps": "Modified"})
        fleet.call("DELETE", "objects/gitrepos/fleet-default/apps")
        fleet.until(log.read_text, lambda text: "bundle apps: removed" in text)
        story = [line.partition(" ")[2] for line in log.read_text().splitlines()]
        chapters = [
            r"bundle apps: deployed \(generation \d+, release log-life/apps, revision 1, ",
            "bundle apps: is Ready",
            "warning: bundle apps: ",
            r"bundle apps: deployed \(generation \d+, release log-life/apps, revision [2-9], ",
            "bundle apps: in order again after ",
            "bundle apps: is Modified: ",
            "bundle apps: removed",
        ]
        at = 0
        for chapter in chapters:
            at = next(
                (i for i, line in enumerate(story) if i >= at and re.match(chapter, line)), -1
            )
            assert at >= 0, f"{chapter}\n{log.read_text()}"
        assert sum(1 for line in story if line.startswith("warning: bundle apps: ")) <= 2, (
            log.read_text()
        )

    def test_json_and_journald(self, fleet: Fleet, tmp_path: Path) -> None:
        """One object a line for machines; for journald a level in front and no time."""
        agent = fleet.agent("edge", None, target_dir=tmp_path / "out")
        agent.process.stop()
        words = ("run", "--state-dir", str(agent.state_dir))
        said = self.said(fleet, *words, "--log", "json")
        assert all({"time", "level", "event"} <= set(json.loads(line)) for line in said), said
        journal = self.said(fleet, *words, journal=True)
        assert journal
        assert all(line.startswith(("<6>", "<4>", "<3>")) for line in journal), journal

    @staticmethod
    def said(fleet: Fleet, *words: str, journal: bool = False) -> list[str]:
        """What an agent writes in its first seconds into a pipe."""
        end, start = os.pipe()
        about = os.fstat(start)
        more = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"} if journal else {}
        process = subprocess.Popen(
            program("fleet-agent", *words), env=environment({**fleet.env, **more}), stderr=start
        )
        os.close(start)
        lines: list[str] = []
        with os.fdopen(end) as pipe:
            lines.append(pipe.readline())
            process.terminate()
            lines += pipe.readlines()
        process.wait(30)
        return lines


class Portal:
    """A web server that answers everything with a page; with TLS when a certificate is given."""

    def __init__(self, certificate: Path | None = None) -> None:
        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(b"<html>Please log in</html>")

            def log_message(self, *_: object) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Page)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"https://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def certificate_of(fleet: Fleet, folder: Path) -> Path:
    """The manager's own certificate and key, in one file."""
    tls = fleet.manager.data_dir / "tls"
    parts = sorted(
        p for p in tls.iterdir() if p.suffix in {".pem", ".key", ".crt"} and "ca" not in p.name
    )
    target = folder / "portal.pem"
    target.write_bytes(b"".join(p.read_bytes() for p in parts))
    return target
