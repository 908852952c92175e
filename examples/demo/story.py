"""The demo's steps, each shown as a person would type it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from shlex import join
from typing import Any

from rich.console import Console
from rich.markup import escape

from examples.demo.parts import (
    ROOT,
    Agent,
    DemoManager,
    Process,
    describe_process,
    environment,
    free_port,
)
from examples.demo.shell import DemoShell
from examples.demo.stop import DEMO, stop
from tests.localkube.errors import LocalkubeError
from tests.localkube.kubeapi import LocalKube
from tests.localkube.toolchain import tools

CLUSTERS = ("dev", "test", "prod")
_DEMO_TOOLS = ("helm", "kubectl", "kustomize", "etcd", "kube-apiserver")


class Story:
    """`own`: kubeconfigs of a person's own clusters."""

    def __init__(self, console: Console, *, quick: bool, own: list[str]) -> None:
        self._console, self._quick, self._own = console, quick, own
        self._shell = DemoShell(console, DEMO / "clone")
        self._kube: LocalKube | None = None
        self._processes: list[Process] = []
        self._agents: dict[str, Agent] = {}
        self._manager: DemoManager | None = None
        self._config = DEMO / "config.yaml"

    def tell(self) -> None:
        """All of it. Raises RuntimeError with what went wrong and the end of the log concerned."""
        shutil.rmtree(DEMO, ignore_errors=True)
        DEMO.mkdir(mode=0o700)
        self._step("Tools and clusters")
        self._clusters()
        self._step("A Git repository, and a manager that follows it")
        self._repository()
        self._start_manager()
        self._step("Three agents enrol")
        self._enrol()
        self._step("The first commit arrives")
        self._shell.cli(
            "wait",
            "gitrepo/apps",
            "--commit",
            self._shell.head(),
            "--timeout",
            "120",
            visible=False,
        )
        self._shell.cli("bundle", "status")
        self._releases()
        self._step("A second commit rolls out")
        self._second_commit()
        self._step("A third goes to a canary first, and waits for a yes")
        self._canary()
        self._step("One cluster goes back")
        self._going_back()
        if not self._quick:
            self._step("Someone changes an object by hand")
            self._drift()
        self._step("What there is")
        self._summary()

    def _step(self, text: str) -> None:
        self._console.print(f"\n[bold cyan]── {text}[/]")

    # Clusters

    def _clusters(self) -> None:
        names = ("helm", "kubectl", "kustomize") if self._quick or self._own else _DEMO_TOOLS
        try:
            found = tools.ensure(names)
        except LocalkubeError as error:
            if self._own:
                raise RuntimeError(str(error)) from error
            self._console.print(
                f"{error}\nNo Kubernetes API can be had here: manifests go into folders instead"
                " (QUICK=1)."
            )
            self._quick = True
            found = tools.ensure(("helm", "kubectl", "kustomize"))
        self._shell.env = environment(tools.env(found)) | {
            "FLEETCTL_CONFIG": str(self._config),
            "PYTHONPATH": str(ROOT),
        }
        if self._own:
            self._shell.kubeconfigs = dict(
                zip(CLUSTERS, (Path(p).absolute() for p in self._own), strict=True)
            )
        elif not self._quick:
            self._kube = LocalKube(DEMO / "kube", CLUSTERS, player=True, detached=True)
            self._kube.start()
            self._shell.kubeconfigs = {c.name: c.kubeconfig for c in self._kube}
            self._console.print(
                f"three Kubernetes APIs on loopback, ready in {self._kube.took:.1f} s; their"
                " Deployments are made ready by a"
            )
            self._console.print(
                "small player that writes the status a kubelet would (no container runs)"
            )

    # Git and the manager

    def _repository(self) -> None:
        root = DEMO / "git"
        root.mkdir()
        bare = root / "apps.git"
        self._shell.git("init", "--quiet", "--bare", str(bare), folder=DEMO)
        self._shell.git("config", "http.receivepack", "true", folder=bare)
        port = free_port()
        argv = [sys.executable, "-m", "tests.servers.gitserver", f"{root}/", "--port", str(port)]
        server = Process("git server", argv, self._shell.env, DEMO / "git.log")
        server.start()
        self._processes.append(server)
        self._url = f"http://127.0.0.1:{port}/apps.git"
        shutil.copytree(ROOT / "examples" / "apps", self._shell.clone)
        self._shell.git("init", "--quiet")
        self._shell.git("remote", "add", "origin", self._url)
        self._shell.until(
            lambda: f"127.0.0.1:{port}" in server.log.read_text(),
            "the Git server listens",
            server.log,
        )
        self._shell.commit("the first version")

    def _start_manager(self) -> None:
        self._manager = DemoManager(DEMO, self._shell.env, "--poll-seconds", "2")
        self._manager.start()
        self._shell.manager_log = self._manager.process.log
        token = str(self._manager.data_dir / "admin.token")
        self._shell.cli(
            "login",
            self._manager.url,
            "--ca-pin",
            self._manager.ca_pin,
            "--token-file",
            token,
            "--name",
            "demo",
        )
        self._shell.cli(
            "gitrepo", "add", "apps", self._url, "--branch", "main", "--path", "hello-*"
        )

    def _enrol(self) -> None:
        assert self._manager is not None
        for name in CLUSTERS:
            made = json.loads(
                self._shell.cli(
                    "cluster", "register", name, "-l", f"env={name}", "-o", "json", quiet=True
                )
            )
            where: dict[str, Any] = (
                {"target_dir": DEMO / "manifests" / name}
                if self._quick
                else {"kubeconfig": self._shell.kubeconfigs[name]}
            )
            agent = Agent(DEMO, name, self._shell.env, **where)
            said = agent.enrol(made["url"], made["caPin"], made["token"])
            agent.process.start()
            self._agents[name] = agent
            self._console.print(f"  {said}", markup=False)

    # What happens

    def _releases(self) -> None:
        for name in CLUSTERS:
            if self._quick:
                files = sorted(p.name for p in (DEMO / "manifests" / name).glob("*.yaml"))
                self._console.print(f"  {name}: {', '.join(files)}", markup=False)
                continue
            self._console.print(f"[dim]$[/] helm ls -A    [dim]# on {name}[/]")
            self._console.print(
                self._shell.tool("helm", name, "ls", "-A", "--time-format", "15:04:05").rstrip(),
                markup=False,
                soft_wrap=True,
            )

    def _second_commit(self) -> None:
        values = self._shell.clone / "hello-helm" / "values.yaml"
        text = values.read_text()
        changed = (
            text.replace("replicas: 1", "replicas: 2")
            if "replicas: 1" in text
            else text + "secondCommit: true\n"
        )
        values.write_text(changed)
        config = self._shell.clone / "hello-raw" / "config.yaml"
        config.write_text(
            config.read_text().replace("hello", "good morning", 1) + "---\n" + _SECOND
        )
        head = self._shell.commit("say it another way")
        began = time.monotonic()
        self._shell.cli("wait", "gitrepo/apps", "--commit", head, "--timeout", "120", visible=False)
        self._console.print(
            f"on every cluster {time.monotonic() - began:.1f} s after the push (the manager looks"
            " every 2 s)"
        )
        self._shell.cli("bundle", "status", "apps-hello-raw")

    def _canary(self) -> None:
        stated = self._shell.clone / "hello-raw" / "fleet.yaml"
        stated.write_text(stated.read_text() + _STRATEGY)
        config = self._shell.clone / "hello-raw" / "config.yaml"
        config.write_text(config.read_text().replace("good morning", "good night", 1))
        self._shell.cli("plan", "apps", "--path", str(self._shell.clone), "--exit-zero")
        head = self._shell.commit("say good night, to dev first")
        self._shell.cli(
            "wait",
            "gitrepo/apps",
            "--for",
            "OutOfSync",
            "--commit",
            head,
            "--timeout",
            "60",
            visible=False,
        )
        self._shell.cli("wait", "cluster/dev", "--timeout", "60", visible=False)
        self._shell.cli("rollout", "status", "apps-hello-raw")
        self._shell.cli("why", "prod", "apps-hello-raw", may_fail=True)
        self._shell.cli("rollout", "approve", "apps-hello-raw")
        self._shell.cli("wait", "gitrepo/apps", "--commit", head, "--timeout", "120", visible=False)

    def _going_back(self) -> None:
        self._shell.cli(
            "rollback", "apps-hello-raw", "--cluster", "prod", "--reason", "not at night on prod"
        )
        self._shell.cli("wait", "gitrepo/apps", "--timeout", "60", visible=False)
        self._shell.cli("bundle", "history", "apps-hello-raw")
        self._shell.cli("bundle", "history", "apps-hello-raw", "--cluster", "prod")
        self._shell.cli("rollback", "apps-hello-raw", "--cluster", "prod", "--release")
        self._shell.cli("wait", "gitrepo/apps", "--timeout", "60", visible=False)

    def _drift(self) -> None:
        change = '{"data":{"greeting":"changed by hand"}}'
        words = ("-n", "hello-raw", "patch", "configmap", "second", "--type", "merge", "-p", change)
        self._console.print(
            f"[dim]$[/] kubectl {escape(join(words))}    [dim]# on test[/]",
            markup=True,
            soft_wrap=True,
        )
        self._shell.tool("kubectl", "test", *words)
        self._shell.cli(
            "wait", "bundle/apps-hello-raw", "--for", "Modified", "--timeout", "60", visible=False
        )
        self._shell.cli("bundle", "get", "apps-hello-raw")
        self._console.print(
            "`correctDrift` in fleet.yaml corrects drift by itself; without it, a command does:"
        )
        self._shell.cli("bundle", "correct", "apps-hello-raw")
        self._shell.cli("wait", "bundle/apps-hello-raw", "--timeout", "60", visible=False)

    def _summary(self) -> None:
        assert self._manager is not None
        self._shell.cli("status")
        self._shell.cli("cluster", "list")

    # The end

    def keep(self) -> None:
        """Write `.demo/demo.json`, and print how to reach each part."""
        assert self._manager is not None
        manager = self._manager
        clusters = [self._cluster(name, agent) for name, agent in self._agents.items()]
        about = {
            "config": str(self._config),
            "clone": str(self._shell.clone),
            "manager": {
                "url": manager.url,
                "data_dir": str(manager.data_dir),
                **describe_process(manager.process),
            },
            "clusters": clusters,
        }
        (DEMO / "demo.json").write_text(json.dumps(about, indent=2) + "\n")
        page = self._shell.cli("ui", "--print", visible=False).strip()
        self._console.print("\nIt is still running. Look at it with:")
        self._console.print(
            f"  export FLEETCTL_CONFIG={self._config}\n  .venv/bin/fleetctl status -w", markup=False
        )
        self._console.print(
            f"  the status page (for a minute; later with `fleetctl ui`): {page}",
            markup=False,
            soft_wrap=True,
        )
        self._console.print(
            "  every part with its process: .demo/demo.json; `make demo-stop` ends it"
        )

    def _cluster(self, name: str, agent: Agent) -> dict[str, Any]:
        api = self._kube[name].pid if self._kube else 0
        config = str(self._shell.kubeconfigs.get(name, ""))
        process = {**describe_process(agent.process), "state_dir": str(agent.state_dir)}
        return {
            "name": name,
            "labels": {"env": name},
            "kubeconfig": config,
            "api_pid": api,
            "agent": process,
        }

    def stop(self) -> None:
        """Stop the agents first, so that none sees its cluster disappear."""
        for agent in self._agents.values():
            agent.process.stop()
        if self._manager:
            self._manager.process.stop()
        for process in self._processes:
            process.stop()
        if self._kube:
            self._kube.stop()
        stop(DEMO)


_STRATEGY = """rolloutStrategy:
  partitions:
  - name: canary
    clusterSelector: {matchLabels: {env: dev}}
  - name: everybody
    clusterSelector: {}
  approval: first
"""

_SECOND = """apiVersion: v1
kind: ConfigMap
metadata:
  name: second
data:
  greeting: good evening
"""
