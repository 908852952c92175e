"""helm 4 as one release sees it.

Rule: every call ends within its deadline, uses its own cache and configuration (never the
person's), and puts no value into the command line. Upgrades apply server-side with force-conflicts,
so that a hand edit never blocks the next commit: Git wins on the fields it states; where
server-side apply refuses the form of a manifest, the agent asks for client-side apply
(agent/deploy/client_side_apply.py). The OpenAPI check of helm is left out because the API server
validates anyway; it halves the cost of a run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fleetctl.core.charts.capabilities import HELM_DEFAULT, Capabilities
from fleetctl.core.model.errors import (
    DeadlineError,
    HelmFailed,
    ReleaseNotFound,
    RenderFailed,
    UsageError,
)
from fleetctl.environment import inherited
from fleetctl.tools.exit_causes import describe_death
from fleetctl.tools.helm_errors import translate
from fleetctl.tools.post_renderer import REFUSAL_FILE
from fleetctl.tools.process import Command, Completed, ProcessLimits, run

ATOMIC_SECONDS = 300
RENDER_LIMITS = ProcessLimits(cpu=60, memory=768 * 1024 * 1024)
_PASSED_ON = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "NO_PROXY")
# helm lives for a tenth of a second and needs 80 MB: collecting garbage only beyond 256 MB saves a
# fifth of its CPU, and one processor a little more.
_GO = {"GOGC": "off", "GOMEMLIMIT": "256MiB", "GOMAXPROCS": "1"}
_CHANGING = frozenset({"upgrade", "uninstall", "rollback"})


@dataclass(frozen=True, slots=True)
class Release:
    name: str
    namespace: str

    def __str__(self) -> str:
        return f"release {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Revision:
    """`status` is helm's word: deployed, failed, pending-install, pending-upgrade, superseded,
    uninstalling, ...
    """

    number: int
    status: str
    chart: str = ""
    manifest: str = ""  # what was applied, hooks left out; only an upgrade tells it


@dataclass(frozen=True, slots=True)
class UpgradeFlags:
    """What an upgrade may do; `timeout` in seconds, 0 does not wait."""

    labels: Mapping[str, str] = field(default_factory=dict)
    max_history: int = 2
    timeout: int = 0
    wait_for_jobs: bool = False
    atomic: bool = False
    take_ownership: bool = False
    create_namespace: bool = True
    skip_schema: bool = False
    force: bool = False
    server_side: bool = True  # False: client-side apply, as helm 3 does
    # tell what would be applied, by the cluster's own capabilities and `lookup`; change nothing
    dry_run: bool = False
    disable_dns: bool = False
    skip_crds: bool = False
    post_renderer: str = ""
    plugins: Path | None = None

    @property
    def waits(self) -> int:
        """Seconds that helm waits for readiness. With --rollback-on-failure it waits whatever
        --wait says, five minutes by itself.
        """
        return self.timeout or (ATOMIC_SECONDS if self.atomic else 0)

    @property
    def longest(self) -> int:
        """Seconds that waiting may take in all: a rollback waits for what it brings back, as long
        again.
        """
        return self.waits * (2 if self.atomic else 1)


@dataclass(frozen=True, slots=True)
class TemplateFlags:
    """What a rendering without a cluster may do."""

    skip_schema: bool = False
    disable_dns: bool = False
    include_crds: bool = True
    capabilities: Capabilities = HELM_DEFAULT


class PostRenderer(Protocol):
    """A plugin's name, "" for none, and the folder that holds it."""

    @property
    def post_renderer(self) -> str: ...
    @property
    def plugins(self) -> Path | None: ...


class Helm(Protocol):
    """Releases on one cluster. `acting_as`: the same with the rights of that user, "" for those of
    the kubeconfig.
    """

    def acting_as(self, user: str) -> Helm: ...
    async def upgrade(
        self, release: Release, chart: Path, values: bytes, flags: UpgradeFlags, *, deadline: float
    ) -> Revision: ...
    async def uninstall(
        self, release: Release, *, deadline: float, keep_record: bool = False
    ) -> None: ...
    async def history(self, release: Release, *, deadline: float) -> Sequence[Revision]: ...
    async def manifest(self, release: Release, *, deadline: float) -> bytes: ...


class HelmCli:
    """The helm binary against the cluster of one kubeconfig; `home` is a private directory for its
    caches and configuration. `lock`: open files that a helm which changes something inherits, and
    so holds for as long as it lives.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        kubeconfig: Path,
        home: Path,
        lock: Callable[[], tuple[int, ...]] = tuple,
    ) -> None:
        self._argv = tuple(argv)
        self._lock = lock
        self._rights: tuple[str, ...] = ()
        passed_on = inherited(_PASSED_ON)
        places = {
            f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")
        }
        own_variables = {
            "KUBECONFIG": str(kubeconfig),
            "HELM_PLUGINS": str(home / "plugins"),
            "KUBECACHEDIR": str(home / "kube"),
        }
        self._env = passed_on | places | _GO | own_variables

    def acting_as(self, user: str) -> HelmCli:
        """By impersonation, for `lookup` in charts and helm's own records too. The groups of a
        service account the API server knows.
        """
        other = copy.copy(self)
        other._rights = ("--kube-as-user", user) if user else ()
        return other

    async def upgrade(
        self, release: Release, chart: Path, values: bytes, flags: UpgradeFlags, *, deadline: float
    ) -> Revision:
        """Install or upgrade; `values` is a YAML or JSON document. Raises ToolFailed and its
        kinds.
        """
        argv = [
            "upgrade",
            "--install",
            release.name,
            str(chart),
            "--namespace",
            release.namespace,
            *upgrade_argv(flags),
        ]
        result = await self._run(
            [*argv, "--values", "-", "--output", "json"], release, values, deadline, flags.plugins
        )
        return _revision(result.stdout)

    async def template(
        self,
        release: Release,
        chart: Path,
        values: bytes,
        post: PostRenderer,
        flags: TemplateFlags,
        *,
        deadline: float,
    ) -> bytes:
        """What an installation would apply, hooks included; asks no cluster. Raises RenderFailed
        with helm's own line.
        """
        argv = [
            "template",
            release.name,
            str(chart),
            "--namespace",
            release.namespace,
            "--values",
            "-",
        ]
        argv += ["--include-crds"] if flags.include_crds else []
        argv += ["--post-renderer", post.post_renderer] if post.post_renderer else []
        argv += ["--skip-schema-validation"] if flags.skip_schema else []
        argv += [] if flags.disable_dns else ["--enable-dns"]
        capabilities = flags.capabilities
        argv += ["--kube-version", capabilities.kube_version] if capabilities.kube_version else []
        argv += [f"--api-versions={name}" for name in capabilities.api_versions]
        try:
            return (await self._run(argv, release, values, deadline, post.plugins)).stdout
        except HelmFailed as error:
            step = "Correct the chart, or the values that it gets."
            raise RenderFailed(error.summary, subject=error.subject, next_step=step) from error

    async def uninstall(
        self, release: Release, *, deadline: float, keep_record: bool = False
    ) -> None:
        """Remove it; one that is not there is removed already. Not by `--ignore-not-found`, with
        which helm 4 says `uninstalled` of every release whose records it could not read, forbidden
        ones too. helm does not wait until the objects are gone: with `keep_record` its record
        stays, as `uninstalled`, until somebody has seen that they are.
        """
        argv = [
            "uninstall",
            release.name,
            "--namespace",
            release.namespace,
            f"--timeout={max(1, int(deadline * 0.75))}s",
        ]
        argv += ["--keep-history"] if keep_record else []
        try:
            await self._run(argv, release, b"", deadline)
        except ReleaseNotFound:
            return

    async def history(self, release: Release, *, deadline: float) -> Sequence[Revision]:
        """Every record, oldest first; empty when the release does not exist."""
        try:
            result = await self._run(
                ["history", release.name, "--namespace", release.namespace, "--output", "json"],
                release,
                b"",
                deadline,
            )
        except ReleaseNotFound:
            return []
        return [
            Revision(int(r["revision"]), str(r["status"]), str(r["chart"]))
            for r in msgspec.json.decode(result.stdout)
        ]

    async def manifest(self, release: Release, *, deadline: float) -> bytes:
        """What was applied last, hooks left out."""
        return (
            await self._run(
                ["get", "manifest", release.name, "--namespace", release.namespace],
                release,
                b"",
                deadline,
            )
        ).stdout

    async def _run(
        self,
        argv: Sequence[str],
        release: Release,
        stdin: bytes,
        deadline: float,
        plugins: Path | None = None,
    ) -> Completed:
        env = self._env | ({"HELM_PLUGINS": str(plugins)} if plugins else {})
        inherits = self._lock() if argv[0] in _CHANGING else ()
        command = Command(
            [*self._argv, *argv, *self._rights],
            env=env,
            stdin=stdin,
            limits=RENDER_LIMITS,
            inherits=inherits,
        )
        try:
            result = await run(command, deadline=deadline)
        except DeadlineError as error:
            step = "Look at the hooks and Pods of the release, and at webhooks that do not answer."
            summary = f"helm {argv[0]} of {release} did not end within {deadline:g} s"
            raise DeadlineError(summary, subject=str(release), next_step=step) from error
        if result.returncode:
            death = describe_death(result, RENDER_LIMITS, tool="helm", subject=str(release))
            raise _refusal(plugins, release) or death or translate(result.stderr, release)
        return result


def upgrade_argv(flags: UpgradeFlags) -> list[str]:
    """The flags of helm 4 for an upgrade."""
    argv = (
        ["--server-side=true", "--force-conflicts"]
        if flags.server_side
        else ["--server-side=false"]
    )
    argv += ["--disable-openapi-validation", f"--history-max={flags.max_history}"]
    switches = {
        "--dry-run=server": flags.dry_run,
        "--create-namespace": flags.create_namespace,
        "--take-ownership": flags.take_ownership,
        "--rollback-on-failure": flags.atomic,
        "--wait-for-jobs": flags.wait_for_jobs and flags.waits > 0,
        "--skip-schema-validation": flags.skip_schema,
        "--enable-dns": not flags.disable_dns,
        "--skip-crds": flags.skip_crds,
    }
    argv += [switch for switch, on in switches.items() if on]
    argv += ["--post-renderer", flags.post_renderer] if flags.post_renderer else []
    argv += (
        ["--wait=watcher", f"--timeout={flags.waits}s"] if flags.waits > 0 else ["--wait=hookOnly"]
    )
    if flags.labels:
        argv.append(
            "--labels=" + ",".join(f"{key}={value}" for key, value in sorted(flags.labels.items()))
        )
    return argv


def _refusal(plugins: Path | None, release: Release) -> UsageError | None:
    """Why our own post-renderer said no: helm tells only that it did."""
    for path in plugins.glob(f"*/{REFUSAL_FILE}") if plugins else ():
        summary, step = msgspec.json.decode(path.read_bytes(), type=tuple[str, str])
        return UsageError(summary, subject=str(release), next_step=step)
    return None


def _revision(answer: bytes) -> Revision:
    document: dict[str, Any] = msgspec.json.decode(answer)
    chart = document.get("chart", {}).get("metadata", {})
    status = str(document.get("info", {}).get("status", ""))
    return Revision(
        int(document["version"]),
        status,
        f"{chart.get('name', '')}-{chart.get('version', '')}",
        str(document.get("manifest", "")),
    )
