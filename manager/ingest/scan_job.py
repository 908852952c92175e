"""One scan of a repository, in a child process: from a commit in the store to archives on the disk.

Everything that reads what a repository or a chart holds runs here, under the limits of
`fleetctl.tools.isolation.fork_server`; the manager reads the result only. Imported in the child, so
it must not import the manager's services.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from fleetctl.core.documents.gitrepo import GitRepoSpec, RepoSpec
from fleetctl.core.model.bundle import BundleSpec, File
from fleetctl.core.model.errors import FleetError, SourceError, UnavailableError, UsageError
from fleetctl.core.model.ids import CommitId, Digest, RepoName, Workspace
from fleetctl.core.scan.problems import ScanProblem, limit_warnings
from fleetctl.core.scan.scan import Scan, scan
from fleetctl.sources.charts.complete import ChartSource, Login, complete_drafts
from fleetctl.sources.git import repository
from fleetctl.sources.git.store import About
from fleetctl.tools.isolation.fork_server import ForkServer, JobLimits

from ..store.archives import Archives

LIMITS = JobLimits()
BUNDLE_SECONDS = 15.0  # of CPU for reading one bundle
SERVER = ForkServer(__name__)


class HelmLogin(msgspec.Struct, frozen=True):
    username: str
    password: str
    ca_pem: bytes


class ScanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`known`: bundles of an earlier scan by their fingerprint. `store`, `archives`: folders."""

    store: str
    archives: str
    repo: RepoSpec
    commit: CommitId
    known: dict[str, BundleSpec] = {}
    mirrors: dict[str, str] = {}
    allow_egress: list[str] = []
    helm_login: HelmLogin | None = None


class PackedBundle(msgspec.Struct, frozen=True):
    """`fingerprint` as in `core.scan.Built`."""

    spec: BundleSpec
    fingerprint: str = ""


class ScanResult(msgspec.Struct, frozen=True, kw_only=True):
    """`bundles` have their archives on the disk. `failure`: why nothing could be scanned."""

    bundles: list[PackedBundle] = []
    problems: list[ScanProblem] = []
    warnings: list[ScanProblem] = []
    unread: list[str] = []
    about: About = About()
    failure: ScanProblem | None = None

    @property
    def specs(self) -> list[BundleSpec]:
        return [bundle.spec for bundle in self.bundles]


async def scan_in_child(request: ScanRequest) -> ScanResult:
    """Raises SourceError, UnavailableError, DeadlineError."""
    subject = f"the scan of GitRepo {request.repo.name}"
    data = await SERVER.run(msgspec.json.encode(request), LIMITS, subject=subject)
    result = msgspec.json.decode(data, type=ScanResult)
    if result.failure:
        failure = result.failure
        kind = SourceError if failure.code == SourceError.code else UnavailableError
        raise kind(failure.summary, subject=subject, next_step=failure.next_step)
    return result


def preload() -> None:
    """Import and build what every job needs, once for all of them: a scan of nearly nothing."""
    import dulwich.object_format
    import dulwich.object_store
    import dulwich.pack
    import dulwich.repo  # noqa: F401

    repo = RepoSpec(workspace=Workspace("w"), name=RepoName("r"), spec=GitRepoSpec(repo=""))
    request = ScanRequest(store="", archives="", repo=repo, commit=CommitId("0" * 40))
    msgspec.json.decode(msgspec.json.encode(request), type=ScanRequest)
    sample = scan(_Sample(), repo, commit=request.commit)
    source = ChartSource({}, (), Login())
    bundles, _ = asyncio.run(complete_drafts(sample.drafts, source))
    msgspec.json.encode(ScanResult(bundles=[PackedBundle(b.spec, b.fingerprint) for b in bundles]))


class _Sample:
    """A tree with one bundle."""

    _FILES: ClassVar = {"fleet.yaml": b"helm: {values: {a: 1}}\n", "m.yaml": b"kind: ConfigMap\n"}

    def paths(self) -> Sequence[str]:
        return sorted(self._FILES)

    def read(self, path: str) -> File:
        return File(self._FILES[path])

    def identity(self, path: str) -> str:
        return path

    def links(self) -> Mapping[str, str]:
        return {}

    def unusable(self) -> Mapping[str, str]:
        return {}


def run(data: bytes) -> bytes:
    """The entry point in the child."""
    request = msgspec.json.decode(data, type=ScanRequest)
    try:
        result = asyncio.run(_scan(request))
    except FleetError as error:
        failure = ScanProblem(
            path="", code=error.code, summary=error.summary, next_step=error.next_step
        )
        result = ScanResult(failure=failure)
    return msgspec.json.encode(result)


async def _scan(request: ScanRequest) -> ScanResult:
    archives = Archives(Path(request.archives))
    scan_result, about = _read(request, request.known)
    if archives.missing([Digest(d.spec.archive) for d in scan_result.drafts if d.is_made]):
        scan_result, about = _read(request, {})
    login = request.helm_login
    credential = (
        repository.Credential(login.username, login.password, login.ca_pem) if login else None
    )
    scope = Login(request.repo.spec.helm_repo_url_regex, credential)
    source = ChartSource(request.mirrors, tuple(request.allow_egress), scope)
    bundles, problems = await complete_drafts(scan_result.drafts, source)
    archives.add([(Digest(b.spec.archive), b.archive) for b in bundles if b.archive])
    return ScanResult(
        bundles=[PackedBundle(b.spec, b.fingerprint) for b in bundles],
        problems=[*scan_result.problems, *problems],
        warnings=limit_warnings(scan_result.warnings),
        unread=scan_result.unread,
        about=about,
    )


def _read(request: ScanRequest, earlier_bundles: Mapping[str, BundleSpec]) -> tuple[Scan, About]:
    tree = repository.open_tree(Path(request.store), request.commit)
    try:
        result = scan(
            tree,
            request.repo,
            commit=request.commit,
            earlier_bundles=earlier_bundles,
            guard=_bundle_budget,
        )
        return result, tree.about
    finally:
        tree.close()


@contextlib.contextmanager
def _bundle_budget() -> Iterator[None]:
    """Raises UsageError in the work on one bundle that takes too long, so that the others go on."""
    signal.signal(signal.SIGPROF, _too_slow)
    signal.setitimer(signal.ITIMER_PROF, BUNDLE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_slow(_number: int, _frame: object) -> None:
    step = "Make its files, values or patterns smaller."
    raise UsageError(
        f"reading this bundle takes more than {BUNDLE_SECONDS:g} s of CPU time", next_step=step
    )
