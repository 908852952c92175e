"""`fleet-agent run`: the composition root. Builds the parts of a running agent and closes them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model.errors import FleetError, UsageError
from fleetctl.core.model.wire import StatusRequest
from fleetctl.core.startup.python_versions import describe_hole
from fleetctl.tools.helm import Helm, HelmCli
from fleetctl.tools.isolation.sandbox import Sandbox, SandboxLimits
from fleetctl.tools.kustomize import Kustomize
from fleetctl.tools.systemd import Notifier

from .config import AgentConfig, at_once, proxy_for
from .controlplane import identity
from .controlplane.client import Uplink
from .deploy.context import ReleaseContext
from .drift.observer import Observer
from .host import log
from .host.memory import settle
from .kube.client import Kube
from .kube.impersonation import Rights
from .kube.kubeconfig_search import find_kubeconfig
from .kube.no_cluster import NoCluster
from .loops.self_upgrade import RunningVersion
from .loops.supervisor import LoopLimits, Runner
from .release.directory_target import DirectoryTarget
from .release.helm_lock import HelmLock
from .release.namespaces import NamespaceRules
from .release.repair import ReleaseRepair
from .state.directory import lock_directory
from .state.journal import Journal
from .state.last_applied import LastApplied
from .state.status_file import StatusFile, live_file
from .upgrade import launcher
from .version import version

_Result = TypeVar("_Result")
_THREADS = 2  # for the disk; each keeps a stack and more
_FOLDERS = ("archives", "work", "helm")


async def run_agent(config: AgentConfig) -> int:
    """Run until SIGTERM or SIGINT, or until another version must start (launcher.AGAIN)."""
    settle()
    log.set_up(config.log_style)
    stopping = _stop_on_signals()
    _prepare_directory(config)
    lock = lock_directory(config.state_dir)
    live = StatusFile(live_file(config.state_dir, config.environment.live_file), version())
    try:
        credentials = await _finish_or_stop(stopping, _load_or_enrol(config, live))
        if credentials is None:
            return 0
        again = await _run_loops(config, credentials, live, stopping)
    finally:
        os.close(lock)
    return launcher.AGAIN if again and not config.environment.is_on_trial else 0


def _stop_on_signals() -> asyncio.Event:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def _prepare_directory(config: AgentConfig) -> None:
    """Raises UsageError before anything is written when this run can have no identity."""
    if config.enrol_url and not config.enrol_url.startswith("https://"):
        raise UsageError(
            f"{config.enrol_url} is not an https address",
            subject="--enrol-url",
            next_step="Write it as https://HOST:PORT.",
        )
    if config.identity_secret or config.enrol_url:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not (config.state_dir / "identity.json").exists():
        identity.load(config.state_dir)


async def _finish_or_stop(
    stopping: asyncio.Event, work: Coroutine[object, object, _Result]
) -> _Result | None:
    """The result of `work`, or None when `stopping` is set first."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def _load_or_enrol(
    config: AgentConfig, live: StatusFile
) -> tuple[identity.Identity, Ed25519PrivateKey]:
    """The stored identity, or that of an enrolment now. Raises as `agent.enroll.join.join`."""
    if not (config.identity_secret or config.enrol_url):
        return identity.load(config.state_dir)
    # Most agents never enrol in `run`, and should not hold the modules that do.
    from .enroll.join import IdentitySecret, Joining, join

    path = None
    if config.target_dir is None:
        path = find_kubeconfig(config.kubeconfig, "", config.state_dir, config.environment)
    elif config.identity_secret:
        raise UsageError(
            "a directory target has no Secrets",
            subject="--identity-secret",
            next_step="Leave it out.",
        )
    # A Pod's kubeconfig is written again at each start.
    is_own = path is not None and path.parent == config.state_dir.absolute()
    async with AsyncExitStack() as stack:
        secret = None
        if config.identity_secret and path:
            kube = await stack.enter_async_context(Kube(path).open())
            secret = IdentitySecret(kube, kube.namespace, config.identity_secret)
        joining = Joining(
            config.state_dir,
            version(),
            secret,
            config.enrol_url,
            config.ca_pin,
            config.token_file,
            kubeconfig="" if is_own or path is None else str(path),
            target_dir=str(config.target_dir.absolute()) if config.target_dir else "",
        )
        return await join(joining, live.enrolling)


async def _run_loops(
    config: AgentConfig,
    credentials: tuple[identity.Identity, Ed25519PrivateKey],
    live: StatusFile,
    stopping: asyncio.Event,
) -> bool:
    """Returns True when another version must start. No helm outlives this call."""
    agent, key = credentials
    context, observer = _build_context(config, agent, key)
    about = await _describe_agent(config, context)
    runner = Runner(
        context,
        observer,
        Notifier(config.environment.notify_socket),
        about=about,
        live=live,
        running=_running_version(config),
        limits=LoopLimits(at_once(), config.environment.values_seconds),
    )
    if hole := describe_hole(sys.version_info[:3]):
        log.trouble("python", hole)
    log.event(
        f"fleet-agent {version()} follows {agent.url}",
        cluster=f"{agent.workspace}/{agent.cluster}",
        instance=about.instance,
    )
    try:
        return await runner.run(stopping)
    finally:
        context.journal.close()
        context.helm_lock.close()
        await context.sandbox.close()
        await context.kube.close()
        await context.uplink.close()


def _build_context(
    config: AgentConfig, agent: identity.Identity, key: Ed25519PrivateKey
) -> tuple[ReleaseContext, Observer | None]:
    """The tools, the cluster and the stores that all loops share."""
    state_dir, environment = config.state_dir.absolute(), config.environment
    for name in _FOLDERS:
        # On a disk that cannot be written, the first use of the folder reports the error.
        with contextlib.suppress(OSError):
            (state_dir / name).mkdir(mode=0o700, exist_ok=True)
    target = config.target_dir
    if target is None and agent.target_dir and not config.kubeconfig:
        target = Path(agent.target_dir)
    helm_lock = HelmLock(state_dir / "helm.lock")
    kubeconfig = Path(os.devnull)
    if target is None:
        kubeconfig = find_kubeconfig(config.kubeconfig, agent.kubeconfig, state_dir, environment)
    cli = HelmCli(
        [config.tools.helm or "helm"],
        kubeconfig=kubeconfig,
        home=state_dir / "helm",
        lock=helm_lock.handles,
    )
    kube: Kube = NoCluster() if target else Kube(kubeconfig)
    helm: Helm = cli
    if target is not None:
        helm = DirectoryTarget(target.absolute(), cli if config.tools.helm else None)
    last_applied = LastApplied(state_dir / "objects")
    uplink = Uplink(
        agent,
        key,
        time.time,
        proxy=proxy_for(agent.url),
        longest_pause=environment.longest_pause_seconds,
    )
    limits = SandboxLimits(cpu=environment.work_cpu_seconds, memory=environment.work_memory_bytes)
    context = ReleaseContext(
        uplink,
        Journal(state_dir / "journal"),
        last_applied,
        helm,
        kube,
        Kustomize(config.tools.kustomize) if config.tools.kustomize else None,
        state_dir,
        Rights(kube, config.service_account_namespace),
        ReleaseRepair(state_dir / "objects"),
        helm_lock,
        environment.helm_seconds,
        Sandbox(limits),
        NamespaceRules(environment.pod_namespace, environment.allows_pod_security_labels),
    )
    return context, None if target else Observer(kube, last_applied)


async def _describe_agent(config: AgentConfig, context: ReleaseContext) -> StatusRequest:
    """What every report says of the agent itself."""
    return StatusRequest(
        instance=context.uplink.instance,
        seq=0,
        agent_version=version(),
        tools={"helm": config.tools.helm, "kustomize": " ".join(config.tools.kustomize)},
        kube_version=await _kube_version(context.kube),
        runtime=str(launcher.runtime()),
    )


async def _kube_version(kube: Kube) -> str:
    """Empty without a cluster, and while the API server does not answer."""
    if not kube.is_there:
        return ""
    try:
        return await kube.version()
    except FleetError:
        return ""


def _running_version(config: AgentConfig) -> RunningVersion:
    environment = config.environment
    return RunningVersion(
        version(),
        launcher.digest(),
        launcher.base(environment.base_program),
        is_on_trial=environment.is_on_trial,
        is_in_pod=environment.is_in_pod,
        retry=environment.upgrade_retry,
    )
