"""Schedules under the real service, and a clock that is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from manager.service import Service
from tests.support.gitrepo import Clone
from tests.support.rollouts.simulated_agents import (
    Agents,
    completed,
    everywhere,
    files,
    first_commit,
    plain,
)

SPACE = "fleet-default"


class Clock:
    """Stands still until it is set."""

    def __init__(self, text: str) -> None:
        self.now = 0.0
        self.set(text)

    def set(self, text: str) -> None:
        self.now = (
            datetime.fromisoformat(text)
            .replace(tzinfo=datetime.fromisoformat(text).tzinfo or UTC)
            .timestamp()
        )

    def __call__(self) -> float:
        return self.now


async def schedule(
    service: Service, name: str, text: str, duration: str, location: str = "", **more: Any
) -> dict[str, Any]:
    targets = {"clusters": [{"clusterSelector": more.pop("selector", {})}]}
    spec = {
        "schedule": text,
        "duration": duration,
        "location": location,
        "targets": targets,
        **more,
    }
    meta = {"name": name, "namespace": SPACE}
    doc = {
        "apiVersion": "fleet.cattle.io/v1alpha1",
        "kind": "Schedule",
        "metadata": meta,
        "spec": spec,
    }
    return (await service.objects.put("Schedule", SPACE, name, doc)).object


async def deployments(service: Service) -> dict[str, tuple[str, str]]:
    """State and message by cluster."""
    items = await service.views.list_objects("BundleDeployment")
    return {
        i["spec"]["cluster"]: (i["status"]["display"]["state"], i["status"]["message"])
        for i in items
    }


async def ran_everywhere(service: Service, agents: Agents, clone: Clone, strategy: str = "") -> str:
    """The first commit, which all clusters have."""
    first = await first_commit(service, clone, files(1, strategy) if strategy else plain(1))
    await (completed(service, agents, first) if strategy else everywhere(agents, first))
    return first
