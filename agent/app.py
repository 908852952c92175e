"""The agent's composition root: reads the configuration, builds the parts, and is the only place
that catches errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fleetctl.core.model.errors import Conflict, FleetError, RefusedError, UsageError
from fleetctl.core.model.wire import StatusRequest
from fleetctl.core.startup.python_versions import describe_hole

from . import config
from .controlplane import identity
from .host import failpoints, log
from .packaging.bootstrap import unsafe
from .upgrade import launcher, release_keys

_T = TypeVar("_T")
BUG = 70
_THREADS = 2  # for the disk; each keeps a stack and more


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: of the error's class, 0 when told to stop, 70 for an error of our own."""
    try:
        said = config.parse(sys.argv[1:] if argv is None else argv)
        failpoints.arm(*config.failpoints())
        match said.command:
            case "enrol":
                return asyncio.run(_enrol(said))
            case "run":
                return _start(said, sys.argv[1:] if argv is None else argv)
            case "selftest":
                from .diagnostics.selftest import selftest

                asyncio.run(selftest(said.state_dir))
                return 0
            case "status":
                return _status(said)
            case "check":
                return _check(said)
            case _:
                print(f"fleet-agent {version()}")
                return 0
    except FleetError as error:
        lines = [f"error: {error.summary}", error.subject, error.next_step]
        print("\n  ".join(line for line in lines if line), file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(
            f"error: {error.strerror}: {error.filename}\n  Look at the disk and at the rights of"
            " --state-dir.",
            file=sys.stderr,
        )
        return 1


def _refuse_unsafe(state_dir: Path) -> None:
    """What lies in the state directory is run and obeyed: nobody else may change it. Raises
    RefusedError.
    """
    if not state_dir.exists():
        return
    # The volume of a Pod is open to all users, of whom there are none but those of the Pod.
    if why := unsafe(state_dir, parents=not config.in_pod()):
        step = f"chown {os.getuid()} {state_dir}; chmod 700 {state_dir}; or name another directory."
        raise RefusedError(
            f"the state directory {state_dir} {why}", subject="--state-dir", next_step=step
        )


def _start(said: Any, words: Sequence[str]) -> int:
    """As the version that is chosen; one that gives way to another starts from the beginning."""
    _refuse_unsafe(said.state_dir)
    if said.release_key:
        release_keys.pin(said.state_dir, said.release_key)
    status = launcher.start(said.state_dir, words)
    if status is None:
        status = asyncio.run(_run(said))
    return launcher.again() if status == launcher.AGAIN else status


def version() -> str:
    """Out of the name of the distribution's metadata folder: importlib.metadata would hold 2 MiB
    for it.
    """
    for folder in sys.path:
        for found in Path(folder or ".").glob("fleetctl-*.dist-info"):
            return found.name.removeprefix("fleetctl-").removesuffix(".dist-info")
    return "0+checkout"


async def _enrol(said: Any) -> int:
    """Check the cluster first: a token is used only by an agent that can work."""
    from .enroll.request import enrol

    _refuse_unsafe(said.state_dir)
    if not said.url.startswith("https://"):
        raise UsageError(
            f"{said.url} is not an https address",
            subject="URL",
            next_step="Write it as https://HOST:PORT.",
        )
    if not said.token_stdin:
        raise UsageError(
            "the token is read from standard input only",
            subject="--token-stdin",
            next_step="Add --token-stdin.",
        )
    kubeconfig, shown = "", f"directory {said.target_dir}"
    if said.target_dir is None:
        kubeconfig, shown = await _reached(said)
    if said.release_key:
        release_keys.pin(said.state_dir, said.release_key)
    token = sys.stdin.readline().strip()
    if not token:
        raise UsageError(
            "there is no token on standard input",
            subject="--token-stdin",
            next_step="Pipe the token into this command.",
        )
    said.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_unsafe(said.state_dir)
    lock = _locked(said.state_dir)  # an agent that runs would go on with what it had
    try:
        key = identity.key_to_enrol(said.state_dir)
        found = await enrol(said.url.rstrip("/"), said.ca_pin, token, key, version())
        target = str(said.target_dir.absolute()) if said.target_dir else ""
        identity.save(
            said.state_dir,
            msgspec.structs.replace(found, kubeconfig=kubeconfig, target_dir=target),
            key,
        )
    finally:
        os.close(lock)
    print(f"enrolled as cluster {found.cluster} of workspace {found.workspace}, for {shown}")
    if said.target_dir is None:
        _warn_without_helm()
    return 0


# Where systemd looks for programs when a unit sets no PATH (systemd.exec(5)).
_SYSTEMD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


def _warn_without_helm() -> None:
    """The first bundle would be the first to say it."""
    import shutil

    from .diagnostics.check_host import helm

    finding = helm()
    if not finding.ok:
        print(f"warning: helm {finding.said}. {finding.next_step}", file=sys.stderr)
    elif not shutil.which("helm", path=_SYSTEMD_PATH):
        print(
            f"warning: helm is on your PATH, and not on systemd's ({_SYSTEMD_PATH}). Install it"
            " there.",
            file=sys.stderr,
        )


async def _reached(said: Any) -> tuple[str, str]:
    """(kubeconfig, how to name it). Raises ClusterUnreachable, UsageError."""
    from .kube.client import Kube

    said.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = config.kubeconfig(said.kubeconfig, "", said.state_dir)
    async with Kube(path).open() as kube:
        # of a Pod it is made anew at each start
        kept = "" if path.parent == said.state_dir.absolute() else str(path)
        return kept, f"the cluster of {path} (Kubernetes {await kube.version()})"


def _locked(state_dir: Path) -> int:
    """One agent per state directory. Raises Conflict."""
    try:
        handle = os.open(state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as why:
        if why.errno != errno.EROFS:
            raise
        # looks and reports, and changes nothing
        handle = os.open(state_dir / "agent.lock", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as why:
        os.close(handle)
        raise Conflict(
            f"another agent runs with {state_dir}",
            subject="--state-dir",
            next_step="Stop it first.",
        ) from why
    return handle


async def _run(said: Any) -> int:
    """Until SIGTERM or SIGINT; helm is not left behind."""
    from .host.memory import settle
    from .host.systemd import Notifier
    from .loops.supervisor import Runner
    from .state.status_file import Live

    settle()
    log.set_up(config.log_style(said.log))
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS))
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stopping.set)
    if said.enrol_url and not said.enrol_url.startswith("https://"):
        raise UsageError(
            f"{said.enrol_url} is not an https address",
            subject="--enrol-url",
            next_step="Write it as https://HOST:PORT.",
        )
    if said.identity_secret or said.enrol_url:
        said.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not (said.state_dir / "identity.json").exists():
        identity.load(said.state_dir)  # says what is missing, before anything is made
    lock = _locked(said.state_dir)
    live = Live(config.live_file(said.state_dir), version())
    try:
        joined = await _unless(stopping, _joined(said, live))
        if joined is None:
            return 0
        known, key = joined
        context, observer, about = await _parts(said, known, key)
        runner = Runner(
            context,
            observer,
            Notifier(config.notify_socket()),
            at_once=config.at_once(),
            about=about,
            values_seconds=config.values_seconds(),
            live=live,
        )
        if hole := describe_hole(sys.version_info[:3]):
            log.trouble("python", hole)
        log.event(
            f"fleet-agent {version()} follows {known.url}",
            cluster=f"{known.workspace}/{known.cluster}",
            instance=about.instance,
        )
        try:
            again = await runner.run(stopping)
        finally:
            context.journal.close()
            context.helm_lock.close()
            await context.sandbox.close()
            await context.kube.close()
            await context.uplink.close()
    finally:
        os.close(lock)
    return launcher.AGAIN if again and not launcher.on_trial() else 0


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """The result of `work`, or None when we are told to stop before."""
    task, told = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def _joined(said: Any, live: Any) -> tuple[identity.Identity, Any]:
    """Enrolled before, or now. Raises as `agent.enroll.join.join`."""
    if not (said.identity_secret or said.enrol_url):
        return identity.load(said.state_dir)
    from .enroll.join import Joining, KeptIdentity, join
    from .kube.client import Kube

    path = None if said.target_dir else config.kubeconfig(said.kubeconfig, "", said.state_dir)
    # of a Pod: made anew at each start
    own = path is not None and path.parent == said.state_dir.absolute()
    more = {
        "kubeconfig": "" if own or path is None else str(path),
        "target_dir": str(said.target_dir.absolute()) if said.target_dir else "",
    }
    if said.identity_secret and path is None:
        raise UsageError(
            "a directory target has no Secrets",
            subject="--identity-secret",
            next_step="Leave it out.",
        )
    async with AsyncExitStack() as stack:
        secret = None
        if said.identity_secret and path:
            kube = await stack.enter_async_context(Kube(path).open())
            secret = KeptIdentity(kube, kube.namespace, said.identity_secret)
        joining = Joining(
            said.state_dir, version(), secret, said.enrol_url, said.ca_pin, said.token_file, **more
        )
        return await join(joining, live.enrolling)


async def _parts(said: Any, known: identity.Identity, key: Any) -> tuple[Any, Any, StatusRequest]:
    from fleetctl.tools.helm import Helm, HelmCli
    from fleetctl.tools.isolation.sandbox import Sandbox, SandboxLimits
    from fleetctl.tools.kustomize import Kustomize

    from .controlplane.client import Uplink
    from .deploy.context import ReleaseContext
    from .drift.observer import Observer
    from .kube.client import Kube
    from .kube.impersonation import Rights
    from .release.directory_target import DirectoryTarget
    from .release.helm_lock import HelmLock
    from .release.repair import ReleaseRepair
    from .state.journal import Journal
    from .state.last_applied import LastApplied

    state = said.state_dir.absolute()
    for name in ("archives", "work", "helm"):
        # of a disk that takes nothing: whoever needs the folder will say so
        with contextlib.suppress(OSError):
            (state / name).mkdir(mode=0o700, exist_ok=True)
    target = said.target_dir or (
        Path(known.target_dir) if known.target_dir and not said.kubeconfig else None
    )
    tools = config.tools()
    path = (
        Path(os.devnull) if target else config.kubeconfig(said.kubeconfig, known.kubeconfig, state)
    )
    helm_lock = HelmLock(state / "helm.lock")
    cli = HelmCli(
        [tools.helm or "helm"], kubeconfig=path, home=state / "helm", lock=helm_lock.handles
    )
    wanted, uplink = (
        LastApplied(state / "objects"),
        Uplink(
            known,
            key,
            time.time,
            proxy=config.proxy(known.url),
            longest_pause=config.longest_pause(),
        ),
    )
    kube = _no_cluster() if target else Kube(path)
    helm: Helm = DirectoryTarget(target.absolute(), cli if tools.helm else None) if target else cli
    kustomize = Kustomize(tools.kustomize) if tools.kustomize else None
    cpu, memory = config.work_limits()
    context = ReleaseContext(
        uplink,
        Journal(state / "journal"),
        wanted,
        helm,
        kube,
        kustomize,
        state,
        Rights(kube, said.service_account_namespace),
        ReleaseRepair(state / "objects"),
        helm_lock,
        config.helm_seconds(),
        Sandbox(SandboxLimits(cpu=cpu, memory=memory)),
    )
    found = {"helm": tools.helm, "kustomize": " ".join(tools.kustomize)}
    about = StatusRequest(
        instance=uplink.instance,
        seq=0,
        agent_version=version(),
        tools=found,
        kube_version=await _kube_version(kube, target),
        runtime=str(launcher.runtime()),
    )
    return context, None if target else Observer(kube, wanted), about


def _no_cluster() -> Any:
    from .kube.client import NoCluster

    return NoCluster()


async def _kube_version(kube: Any, target: Path | None) -> str:
    """Empty when the API server is away: that stops nothing."""
    if target:
        return ""
    try:
        return str(await kube.version())
    except FleetError:
        return ""


def _check(said: Any) -> int:
    """1 when something stands in the way."""
    from .diagnostics.check import run

    text, status = run(said)
    print(text)
    return status


def _status(said: Any) -> int:
    from .diagnostics.status import show

    print(show(said.state_dir, config.live_file(said.state_dir), said.output))
    return 0
