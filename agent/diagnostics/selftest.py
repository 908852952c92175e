"""`fleet-agent selftest`: whether this file can be the agent of a state directory. Changes nothing
and takes nobody's place.

It runs beside the agent that works: so it never signs a request, which would look like a cloned
disk, and takes no lock. Status 0 is yes, 5 is a fault that lies elsewhere and may pass (manager,
API server, helm, disk), anything else speaks against the file.
"""

from __future__ import annotations

import importlib
import pkgutil
import time

from fleetctl.core.model.errors import ToolFailed, UnavailableError, UsageError

from ..config import AgentConfig
from ..controlplane import identity, tls
from ..controlplane.client import Uplink
from ..controlplane.desired_state import DocumentStore
from ..controlplane.http import httpx
from ..kube.client import Kube
from ..kube.kubeconfig_search import find_kubeconfig
from ..state.journal import read_entries
from .check_host import helm

_SECONDS = 30.0


async def selftest(config: AgentConfig) -> None:
    """Raises FleetError; ImportError and the like are told by Python itself."""
    state_dir = config.state_dir
    package = importlib.import_module(__package__.partition(".")[0])
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.rpartition(".")[2] not in {"__main__", "build"}:
            importlib.import_module(module.name)

    agent, key = identity.load(state_dir)
    read_entries(state_dir / "journal")
    uplink = Uplink(agent, key, time.time)
    try:
        DocumentStore(state_dir, uplink.verify).load()
    finally:
        await uplink.close()
    if not agent.target_dir:
        _helm(config.tools.helm)
        await _cluster(agent.kubeconfig, config)
    await _manager(agent.url, agent.ca_pem)


def _helm(path: str) -> None:

    finding = helm(path)
    if finding.ok is False:
        raise ToolFailed(f"helm {finding.text}", subject="helm", next_step=finding.next_step)


async def _cluster(enrolled_path: str, config: AgentConfig) -> None:
    """The API server answers. One that only `run` was told of is not looked for."""

    try:
        path = find_kubeconfig(None, enrolled_path, config.state_dir, config.environment)
    except UsageError:
        return
    async with Kube(path).open() as kube:
        await kube.version()


async def _manager(url: str, ca_pem: str) -> None:
    """Its door is open to everybody at /healthz: the connection and its certificate are what is
    tried.
    """

    try:
        async with httpx.AsyncClient(verify=tls.context(ca_pem), timeout=_SECONDS) as client:
            answer = await client.get(f"{url}/healthz")
    except httpx.HTTPError as error:
        cause = str(error) or type(error).__name__
        raise UnavailableError(
            f"the manager cannot be reached: {cause}", subject="manager", next_step="Wait."
        ) from error
    if answer.status_code != 200:
        raise UnavailableError(
            f"the manager answers {answer.status_code}", subject="manager", next_step="Wait."
        )
