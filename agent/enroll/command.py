"""`fleet-agent enrol`: joins a manager once, with a registration token on standard input."""

from __future__ import annotations

import os
import shutil
import sys

import msgspec

from fleetctl.core.model.errors import UsageError

from ..config import AgentConfig
from ..controlplane import identity
from ..controlplane.identity import Identity
from ..diagnostics.check_host import helm
from ..kube.client import Kube
from ..kube.kubeconfig_search import find_kubeconfig
from ..state.directory import lock_directory, refuse_unsafe
from ..upgrade import release_keys
from ..version import version
from .request import enrol

# Where systemd looks for programs when a unit sets no PATH (systemd.exec(5)).
_SYSTEMD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


async def enrol_agent(config: AgentConfig) -> int:
    """Check the cluster first, so that only an agent that can work uses up a token."""
    is_in_pod = config.environment.is_in_pod
    refuse_unsafe(config.state_dir, is_in_pod=is_in_pod)
    _check_options(config)
    kubeconfig, target = "", f"directory {config.target_dir}"
    if config.target_dir is None:
        kubeconfig, target = await _reach_cluster(config)
    if config.release_keys:
        release_keys.pin(config.state_dir, config.release_keys)
    token = sys.stdin.readline().strip()
    if not token:
        raise UsageError(
            "there is no token on standard input",
            subject="--token-stdin",
            next_step="Pipe the token into this command.",
        )
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_unsafe(config.state_dir, is_in_pod=is_in_pod)
    agent = await _enrol(config, token, kubeconfig)
    print(f"enrolled as cluster {agent.cluster} of workspace {agent.workspace}, for {target}")
    if config.target_dir is None:
        _warn_without_helm(config.tools.helm)
    return 0


def _check_options(config: AgentConfig) -> None:
    if not config.url.startswith("https://"):
        raise UsageError(
            f"{config.url} is not an https address",
            subject="URL",
            next_step="Write it as https://HOST:PORT.",
        )
    if not config.token_stdin:
        raise UsageError(
            "the token is read from standard input only",
            subject="--token-stdin",
            next_step="Add --token-stdin.",
        )


async def _reach_cluster(config: AgentConfig) -> tuple[str, str]:
    """(kubeconfig, how to name it). Raises ClusterUnreachable, UsageError."""
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = find_kubeconfig(config.kubeconfig, "", config.state_dir, config.environment)
    async with Kube(path).open() as kube:
        # A Pod's kubeconfig is written again at each start.
        is_own = path.parent == config.state_dir.absolute()
        description = f"the cluster of {path} (Kubernetes {await kube.version()})"
        return "" if is_own else str(path), description


async def _enrol(config: AgentConfig, token: str, kubeconfig: str) -> Identity:
    """Enrol and store the identity. The lock keeps out an agent that runs: it would continue with
    the identity that it had.
    """
    state_dir = config.state_dir
    lock = lock_directory(state_dir)
    try:
        key = identity.key_to_enrol(state_dir)
        agent = await enrol(config.url.rstrip("/"), config.ca_pin, token, key, version())
        target_dir = str(config.target_dir.absolute()) if config.target_dir else ""
        complete = msgspec.structs.replace(agent, kubeconfig=kubeconfig, target_dir=target_dir)
        identity.save(state_dir, complete, key)
    finally:
        os.close(lock)
    return agent


def _warn_without_helm(path: str) -> None:
    """Without this warning the first bundle would be the first to report it."""
    finding = helm(path)
    if not finding.ok:
        print(f"warning: helm {finding.text}. {finding.next_step}", file=sys.stderr)
    elif not shutil.which("helm", path=_SYSTEMD_PATH):
        print(
            f"warning: helm is on your PATH, but not on systemd's ({_SYSTEMD_PATH}). Install"
            " it there.",
            file=sys.stderr,
        )
