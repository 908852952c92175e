"""The configuration of the agent: command line and environment, read once at start.

Rule: no other module of the agent reads the environment. The one exception is
agent/packaging/bootstrap.py, which runs before this package can be imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from fleetctl.core.model.errors import UsageError
from fleetctl.core.timing.backoff import Backoff
from fleetctl.tools import find

from .command_line import DEFAULT_SERVICE_ACCOUNT_NAMESPACE, build_parser

# The agent sets these two for the processes that it starts of itself (agent/upgrade/launcher.py).
BASE_PROGRAM, TRIAL = "FLEET_AGENT_BASE", "FLEET_AGENT_TRIAL"
NOTIFY_SOCKET = "NOTIFY_SOCKET"
_POD_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_MIB = 1024 * 1024
_UPGRADE_RETRY = Backoff(15.0, 3600.0, jitter=0.5)
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class ToolPaths:
    """The programs on PATH: `helm` is "" and `kustomize` is () where there is none."""

    helm: str
    kustomize: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The settings of the agent that come from environment variables.

    pod_account: where the kubelet puts token, ca.crt and namespace; the variable is for tests and
    for accounts that are mounted elsewhere.
    pod_namespace: the namespace of the Pod that this agent runs in, "" outside of a Pod.
    allows_pod_security_labels: whether repositories may set pod-security.kubernetes.io/ labels on
    namespaces.
    helm_seconds: the deadline of one run of helm or kustomize, on top of a bundle's
    helm.timeoutSeconds.
    work_cpu_seconds, work_memory_bytes: limits of the process that reads one bundle's templates.
    longest_pause_seconds: the longest time between two tries while the manager does not answer.
    values_seconds: the longest time until a changed ConfigMap or Secret of `valuesFrom` reaches
    its release.
    trial_seconds: the longest time until a new version of this agent has checked in.
    upgrade_retry: the waits before an upgrade is tried again.
    failpoints, failpoints_log: see agent/host/failpoints.py.
    base_program: JSON of the program that was installed, "" in the first process of a start.
    """

    state_dir: Path | None = None
    live_file: Path | None = None
    kubeconfig: Path | None = None
    home: Path | None = None
    service_account_namespace: str = DEFAULT_SERVICE_ACCOUNT_NAMESPACE
    pod_account: Path = Path(_POD_ACCOUNT)
    pod_namespace: str = ""
    allows_pod_security_labels: bool = False
    service_host: str = ""
    service_port: str = ""
    journal_stream: str = ""
    notify_socket: str = ""
    helm_seconds: float = 90.0
    work_cpu_seconds: int = 20
    work_memory_bytes: int = 512 * _MIB
    longest_pause_seconds: float = 60.0
    values_seconds: float = 300.0
    trial_seconds: float = 300.0
    upgrade_retry: Backoff = _UPGRADE_RETRY
    failpoints: str = ""
    failpoints_log: str = ""
    base_program: str = ""
    is_on_trial: bool = False

    @property
    def is_in_pod(self) -> bool:
        """Whether the kubelet has given this process a service account."""
        return (self.pod_account / "token").exists()


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """What one process of the agent is told at its start.

    arguments: the words after the program's name. optional_state_dir: None only for `check` before
    the enrolment and for `version`. The other fields are the options of the commands.
    """

    command: str
    arguments: tuple[str, ...]
    environment: Environment
    tools: ToolPaths
    optional_state_dir: Path | None = None
    url: str = ""
    ca_pin: str = ""
    token_stdin: bool = False
    kubeconfig: Path | None = None
    target_dir: Path | None = None
    service_account_namespace: str = DEFAULT_SERVICE_ACCOUNT_NAMESPACE
    enrol_url: str = ""
    token_file: Path | None = None
    identity_secret: str = ""
    log: str = "text"
    release_keys: tuple[str, ...] = ()
    output: str = "text"

    @property
    def state_dir(self) -> Path:
        assert self.optional_state_dir is not None
        return self.optional_state_dir

    @property
    def log_style(self) -> str:
        """`text`, `json`, or `journal` instead of `text` where stderr goes to journald itself
        (systemd.exec(5), JOURNAL_STREAM).
        """
        try:
            device, inode = (int(part) for part in self.environment.journal_stream.split(":"))
            stderr = os.fstat(2)
        except (ValueError, OSError):
            return self.log
        is_journal = (stderr.st_dev, stderr.st_ino) == (device, inode)
        return "journal" if self.log == "text" and is_journal else self.log


def read_config(
    arguments: Sequence[str], variables: Mapping[str, str] | None = None
) -> AgentConfig:
    """Read the command line and the environment. Raises UsageError."""
    environment = read_environment(os.environ if variables is None else variables)
    parser = build_parser(environment.state_dir, environment.service_account_namespace)
    words = ["version"] if list(arguments) == ["--version"] else list(arguments)
    options = vars(parser.parse(words))
    fields = AgentConfig.__dataclass_fields__
    return AgentConfig(
        arguments=tuple(arguments),
        environment=environment,
        tools=find_tools(),
        optional_state_dir=options.get("state_dir"),
        release_keys=tuple(options.get("release_key", ())),
        **{name: value for name, value in options.items() if name in fields},
    )


def read_environment(variables: Mapping[str, str]) -> Environment:
    """An empty variable counts as unset. Raises UsageError for a number that cannot be read."""

    def path(name: str) -> Path | None:
        return Path(variables[name]) if variables.get(name) else None

    def number(name: str, kind: Callable[[str], _Number], default: _Number) -> _Number:
        text = variables.get(name, "")
        try:
            return kind(text) if text else default
        except ValueError:
            raise UsageError(
                f"{name}: {text[:80]!r} is not a number", subject=name, next_step="Correct it."
            ) from None

    retry = number("FLEET_AGENT_UPGRADE_RETRY_SECONDS", float, -1.0)
    pod_account = path("FLEET_AGENT_POD_ACCOUNT") or Path(_POD_ACCOUNT)
    first_kubeconfig = variables.get("KUBECONFIG", "").split(":")[0]
    return Environment(
        state_dir=path("FLEET_AGENT_STATE_DIR"),
        live_file=path("FLEET_AGENT_LIVE_FILE"),
        kubeconfig=Path(first_kubeconfig) if first_kubeconfig else None,
        home=path("HOME"),
        service_account_namespace=variables.get("FLEET_AGENT_SERVICE_ACCOUNT_NAMESPACE")
        or DEFAULT_SERVICE_ACCOUNT_NAMESPACE,
        pod_account=pod_account,
        pod_namespace=_read_text(pod_account / "namespace"),
        allows_pod_security_labels=variables.get("FLEET_AGENT_POD_SECURITY_LABELS") == "allow",
        service_host=variables.get("KUBERNETES_SERVICE_HOST", ""),
        service_port=variables.get("KUBERNETES_SERVICE_PORT", ""),
        journal_stream=variables.get("JOURNAL_STREAM", ""),
        notify_socket=variables.get(NOTIFY_SOCKET, ""),
        helm_seconds=number("FLEET_AGENT_HELM_SECONDS", float, 90.0),
        work_cpu_seconds=number("FLEET_AGENT_WORK_CPU_SECONDS", int, 20),
        work_memory_bytes=number("FLEET_AGENT_WORK_MEMORY_MIB", int, 512) * _MIB,
        longest_pause_seconds=max(1.0, number("FLEET_AGENT_LONGEST_PAUSE_SECONDS", float, 60.0)),
        values_seconds=number("FLEET_AGENT_VALUES_SECONDS", float, 300.0),
        trial_seconds=number("FLEET_AGENT_TRIAL_SECONDS", float, 300.0),
        upgrade_retry=Backoff(retry, retry, jitter=0.5) if retry >= 0 else _UPGRADE_RETRY,
        failpoints=variables.get("FLEETCTL_FAILPOINTS", ""),
        failpoints_log=variables.get("FLEETCTL_FAILPOINTS_SEEN", ""),
        base_program=variables.get(BASE_PROGRAM, ""),
        is_on_trial=variables.get(TRIAL) == "1",
    )


def find_tools() -> ToolPaths:
    (helm,) = find.helm(path_only=True) or ("",)
    return ToolPaths(helm, find.kustomize(path_only=True) or ())


def proxy_for(url: str) -> str:
    """The proxy that the environment names for this address (HTTPS_PROXY, NO_PROXY), or ""."""
    host = urlsplit(url).hostname or ""
    return "" if proxy_bypass(host) else getproxies().get("https", "")


def child_environment(
    *, remove: Iterable[str] = (), add: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for a process of the agent itself, which takes the user's settings too."""
    without = {key: value for key, value in os.environ.items() if key not in set(remove)}
    return without | dict(add or {})


def _read_text(path: Path) -> str:
    """The text of a small file, "" if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def at_once() -> int:
    """The number of releases that may change at the same time."""
    return max(4, min(8, os.cpu_count() or 4))
