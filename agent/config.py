"""The agent's command line and environment: the only module that reads either."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from fleetctl.core.model.errors import UsageError
from fleetctl.core.startup.arguments import Parser

_IN_POD = "/var/run/secrets/kubernetes.io/serviceaccount"
# Where k3s and RKE2 write their administrator's kubeconfig.
_ON_NODE = (Path("/etc/rancher/k3s/k3s.yaml"), Path("/etc/rancher/rke2/rke2.yaml"))


@dataclass(frozen=True)
class Tools:
    """Paths of the binaries; "" is not there."""

    helm: str
    kustomize: tuple[str, ...]


def parser() -> Parser:
    top = Parser(prog="fleet-agent", description="Brings one cluster to what its manager says.")
    top.add_argument("--version", action="store_true", help="this agent's version")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    enrol = commands.add_parser("enrol", help="join a manager with a registration token")
    enrol.add_argument("url", help="the manager's address, https://HOST:PORT")
    enrol.add_argument(
        "--ca-pin",
        default="",
        help="SHA-256 of the manager's CA, as `fleetctl cluster register` prints it",
    )
    enrol.add_argument(
        "--token-stdin", action="store_true", help="read the registration token from standard input"
    )
    run = commands.add_parser("run", help="follow the manager until stopped")
    status = commands.add_parser("status", help="what this agent holds")
    check = commands.add_parser("check", help="what is wrong here, and what to do")
    for command in (status, check):
        command.add_argument("-o", "--output", choices=("text", "json"), default="text")
    for command in (enrol, run, status, check):
        command.add_argument(
            "--state-dir",
            type=Path,
            default=_path("FLEET_AGENT_STATE_DIR"),
            required=command is not check and not os.environ.get("FLEET_AGENT_STATE_DIR"),
            metavar="DIR",
            help="where the agent keeps its key and journal (FLEET_AGENT_STATE_DIR)",
        )
    check.add_argument(
        "--url", default="", metavar="URL", help="before the enrolment: the manager's address"
    )
    check.add_argument(
        "--ca-pin", default="", help="before the enrolment: SHA-256 of the manager's CA"
    )
    for command in (enrol, run, check):
        command.add_argument(
            "--kubeconfig", type=Path, metavar="FILE", help="the cluster's kubeconfig"
        )
        command.add_argument(
            "--target-dir",
            type=Path,
            metavar="DIR",
            help="write manifests into this directory instead of a cluster",
        )
    for command in (run, check):
        command.add_argument(
            "--service-account-namespace",
            default=os.environ.get("FLEET_AGENT_SERVICE_ACCOUNT_NAMESPACE")
            or "cattle-fleet-system",
            metavar="NAME",
            help=(
                "where the accounts are that bundles name as serviceAccount (default:"
                " cattle-fleet-system)"
            ),
        )
    run.add_argument(
        "--enrol-url",
        default="",
        metavar="URL",
        help="join this manager first, where this agent has not joined one yet",
    )
    run.add_argument("--ca-pin", default="", help="with --enrol-url: SHA-256 of the manager's CA")
    run.add_argument(
        "--token-file", type=Path, metavar="FILE", help="with --enrol-url: the registration token"
    )
    run.add_argument(
        "--identity-secret",
        default="",
        metavar="NAME",
        help="keep the key in this Secret too, of the namespace of the Pod or the context",
    )
    run.add_argument(
        "--log",
        choices=("text", "json"),
        default="text",
        help="how the log is written (default: text)",
    )
    for command in (enrol, run):
        command.add_argument(
            "--release-key",
            action="append",
            default=[],
            metavar="FILE|KEY",
            help=(
                "whose signature a new version of this agent needs (may be repeated); without any,"
                " and with `none`, upgrades are off"
            ),
        )
    commands.add_parser("version", help="this agent's version")
    # What a staged version is asked beside the one that runs.
    commands.add_parser("selftest").add_argument("--state-dir", type=Path, required=True)
    return top


def _path(variable: str) -> Path | None:
    found = os.environ.get(variable, "")
    return Path(found) if found else None


def parse(argv: Sequence[str]) -> argparse.Namespace:
    return parser().parse(["version"] if list(argv) == ["--version"] else argv)


def kubeconfig(said: Path | None, stored: str, folder: Path) -> Path:
    """The cluster to use: the flag, what enrolment stored, KUBECONFIG, the Pod's own, k3s,
    ~/.kube/config. Raises UsageError.

    Inside of a Pod it is a file in `folder`, made when it is not there or says something else.
    """
    account = _pod_account()
    kept = Path(stored) if stored and Path(stored).parent != account else None
    for path in (said, kept, _environment()):
        if path is not None:
            if not path.exists():
                raise UsageError(
                    f"{path} does not exist", subject="--kubeconfig", next_step="Correct the path."
                )
            return path.absolute()
    if (account / "token").exists():
        return _pod_kubeconfig(account, folder / "kubeconfig")
    candidates = [
        *_ON_NODE,
        *([Path.home() / ".kube" / "config"] if os.environ.get("HOME") else []),
    ]
    for path in candidates:
        if os.access(path, os.R_OK):
            return path
    looked = ", ".join(map(str, candidates))
    unreadable = [path for path in candidates if path.exists()]
    if unreadable:
        summary = f"{unreadable[0]} cannot be read by this user"
        raise UsageError(
            summary, subject="--kubeconfig", next_step="Run as root, or give --kubeconfig FILE."
        )
    step = f"Give --kubeconfig FILE, or --target-dir DIR. Looked at KUBECONFIG, {looked}."
    raise UsageError("no kubeconfig was found", subject="--kubeconfig", next_step=step)


def in_pod() -> bool:
    """Whether the kubelet has given this process a service account."""
    return (_pod_account() / "token").exists()


def _pod_account() -> Path:
    """Where the kubelet puts token, ca.crt and namespace; the variable is for tests and for
    accounts that are mounted elsewhere.
    """
    return Path(os.environ.get("FLEET_AGENT_POD_ACCOUNT", "") or _IN_POD)


def _pod_kubeconfig(account: Path, path: Path) -> Path:
    from .kube.kubeconfig import in_pod as made
    from .state.files import write_whole

    text = made(account, os.environ)
    if not path.exists() or path.read_bytes() != text:
        write_whole(path, text)
    return path.absolute()


def own_namespace() -> str:
    """Where this agent runs as a Pod, "" when it does not."""
    try:
        return (_pod_account() / "namespace").read_text().strip()
    except OSError:
        return ""


def _environment() -> Path | None:
    found = os.environ.get("KUBECONFIG", "").split(":")[0]
    return Path(found) if found else None


def tools() -> Tools:
    kustomize = shutil.which("kustomize")
    kubectl = shutil.which("kubectl")
    return Tools(
        shutil.which("helm") or "",
        (kustomize,) if kustomize else (kubectl, "kustomize") if kubectl else (),
    )


def log_style(said: str) -> str:
    """`journal` instead of `text` where stderr goes to journald itself (systemd.exec(5),
    JOURNAL_STREAM).
    """
    try:
        device, inode = (int(part) for part in os.environ.get("JOURNAL_STREAM", "").split(":"))
        found = os.fstat(2)
    except (ValueError, OSError):
        return said
    return "journal" if said == "text" and (found.st_dev, found.st_ino) == (device, inode) else said


def live_file(state_dir: Path) -> Path:
    """Where the running agent of this directory shows how it fares; a Pod names a place of its own
    for its probes.
    """
    from .state.status_file import path_of

    said = os.environ.get("FLEET_AGENT_LIVE_FILE", "")
    return Path(said) if said else path_of(state_dir)


def proxy(url: str) -> str:
    """The proxy that the environment names for this address (HTTPS_PROXY, NO_PROXY), or ""."""
    host = urlsplit(url).hostname or ""
    return "" if proxy_bypass(host) else getproxies().get("https", "")


def notify_socket() -> str:
    return os.environ.get("NOTIFY_SOCKET", "")


def watchdog_seconds() -> float:
    """How often systemd wants to hear of us; 0 is not at all."""
    return int(os.environ.get("WATCHDOG_USEC", "0") or 0) / 2_000_000


def helm_seconds() -> float:
    """The deadline of one run of helm or kustomize; helm.timeoutSeconds of a bundle comes on
    top.
    """
    return float(os.environ.get("FLEET_AGENT_HELM_SECONDS", "90"))


def work_limits() -> tuple[int, int]:
    """(seconds of CPU time, bytes of memory) for reading one bundle's templates and files."""
    seconds, mib = (
        os.environ.get(f"FLEET_AGENT_WORK_{name}", "") for name in ("CPU_SECONDS", "MEMORY_MIB")
    )
    return int(seconds or "20"), int(mib or "512") * 1024 * 1024


def longest_pause() -> float:
    """At most so long between two tries while the manager does not answer, or has told this agent
    to stop.
    """
    return max(1.0, float(os.environ.get("FLEET_AGENT_LONGEST_PAUSE_SECONDS", "60")))


def values_seconds() -> float:
    """At most so long until a changed ConfigMap or Secret of `valuesFrom` reaches its release."""
    return float(os.environ.get("FLEET_AGENT_VALUES_SECONDS", "300"))


def allows_pod_security_labels() -> bool:
    """Whether repositories may set pod-security.kubernetes.io/ labels on namespaces."""
    return os.environ.get("FLEET_AGENT_POD_SECURITY_LABELS", "") == "allow"


def failpoints() -> tuple[str, str]:
    """What tests make happen where (agent/host/failpoints.py), and the file that is told what was
    passed.
    """
    return os.environ.get("FLEETCTL_FAILPOINTS", ""), os.environ.get("FLEETCTL_FAILPOINTS_SEEN", "")


def trial_seconds() -> float:
    """At most so long until a new version of this agent has checked in with the manager."""
    return float(os.environ.get("FLEET_AGENT_TRIAL_SECONDS", "300"))


def upgrade_retry_seconds() -> tuple[float, float] | None:
    """First and longest pause before an upgrade is tried again; None is the usual ones."""
    found = os.environ.get("FLEET_AGENT_UPGRADE_RETRY_SECONDS", "")
    return (float(found), float(found)) if found else None


def at_once() -> int:
    """Releases that may change at the same time."""
    return max(4, min(8, os.cpu_count() or 4))
