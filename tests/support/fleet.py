"""A whole fleet for a test: a manager process, agents on real clusters, and the people's API as a
person with an admin token calls it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from examples.demo.parts import Agent, DemoManager, tail
from tests.support.processes.prefork import PreforkedAgent, preforked

# Agents of tests try again soon: what they wait for has its own tests.
QUICK = {"FLEET_AGENT_LONGEST_PAUSE_SECONDS": "2"}


class Fleet:
    """`real`: start the programs by their commands, and not in forks of a process that has imported
    them (prefork.py).
    """

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        *more: str,
        poll: int = 1,
        port: int = 0,
        real: bool = False,
    ) -> None:
        self.folder, self.env = folder, QUICK | dict(env)
        self.manager = DemoManager(folder, env, "--poll-seconds", str(poll), *more, port=port)
        self._agent_type = Agent if real else PreforkedAgent
        if not real:
            self.manager.process = preforked(self.manager.process)
        self.manager.start()
        context = ssl.create_default_context(
            cafile=str(next(self.manager.data_dir.rglob("ca.pem")))
        )
        headers = {"authorization": f"Bearer {self.manager.admin_token}"}
        self.client = httpx.Client(
            base_url=self.manager.url, verify=context, headers=headers, timeout=30
        )
        self.agents: dict[str, Agent] = {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.client.request(method, f"/api/v1/{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def agent(
        self, name: str, kubeconfig: Path | None, *, target_dir: Path | None = None, **labels: str
    ) -> Agent:
        """Registered, enrolled and running."""
        made = self.call("POST", f"clusters/fleet-default/{name}/register", {"labels": labels})
        agent = self._agent_type(
            self.folder, name, self.env, kubeconfig=kubeconfig, target_dir=target_dir
        )
        agent.enrol(self.manager.url, made["caPin"], made["token"])
        agent.process.start()
        self.agents[name] = agent
        return agent

    def gitrepo(self, url: str, name: str = "apps", **spec: Any) -> None:
        meta = {"name": name, "namespace": "fleet-default"}
        spec = {"repo": url, "targets": [{"name": "all", "clusterSelector": {}}], **spec}
        doc = {
            "apiVersion": "fleet.cattle.io/v1alpha1",
            "kind": "GitRepo",
            "metadata": meta,
            "spec": spec,
        }
        self.call("PUT", f"objects/gitrepos/fleet-default/{name}", doc)

    def deployments(self) -> dict[str, Any]:
        return {
            i["metadata"]["name"]: i for i in self.call("GET", "objects/bundledeployments")["items"]
        }

    def states(self) -> dict[str, str]:
        return {
            name: item["status"]["display"]["state"] for name, item in self.deployments().items()
        }

    def until(
        self, look: Callable[[], Any], good: Callable[[Any], bool], *, seconds: float = 40.0
    ) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                seen = look()
                if good(seen):
                    return seen
            except httpx.TransportError as away:  # a manager that was killed
                seen = away
            if time.monotonic() > end:
                logs = "\n".join(
                    f"--- {p.name}\n{tail(p)}" for p in sorted(self.folder.glob("*.log"))
                )
                raise AssertionError(f"not within {seconds:g} s; last seen: {seen!r}\n{logs}")
            time.sleep(0.1)

    def all_ready(self, commit: str = "", *, bundles: int, seconds: float = 40.0) -> Any:
        def good(found: dict[str, Any]) -> bool:
            current = all(i["status"]["display"]["state"] == "Ready" for i in found.values())
            return len(found) == bundles and current

        if commit:
            self.until(
                lambda: self.call("GET", "objects/gitrepos/fleet-default/apps"),
                lambda r: r["status"]["commit"] == commit,
            )
        return self.until(self.deployments, good, seconds=seconds)

    def stop(self) -> None:
        self.client.close()
        for agent in self.agents.values():
            agent.process.stop()
        self.manager.process.stop()
