"""The GitRepo to preview, read from a file or built from options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fleetctl.core.documents.convert import Origin, convert
from fleetctl.core.documents.gitrepo import GitRepoSpec, GitTarget, RepoSpec, repo_spec
from fleetctl.core.documents.manifests import kind_of, objects
from fleetctl.core.formats.yaml import load, load_all
from fleetctl.core.model.errors import InvalidFile, UsageError
from fleetctl.core.model.ids import RepoName, Workspace
from fleetctl.core.scan.bundle_names import clean

DEFAULT_WORKSPACE = "fleet-default"


@dataclass(frozen=True)
class PreviewRequest:
    """The GitRepo that is previewed: written in a file, or put together from options. `restricted`:
    targets are restrictions too.
    """

    repo: RepoSpec
    restricted: bool = False


class _Targets(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    targets: list[GitTarget] = []
    target_restrictions: list[GitTarget] | None = None


def text_of(path: Path) -> bytes:
    """Read a file, or standard input for `-`. Raises UsageError."""
    import sys

    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            subject=str(path),
            next_step="Correct the path.",
        ) from error


def preview_request(
    place: str,
    name: str,
    workspace: str,
    paths: Sequence[str],
    targets: Path | None,
    gitrepo: Path | None,
) -> PreviewRequest:
    """Build the request from options or a GitRepo file. Raises UsageError and InvalidFile."""
    if gitrepo is not None:
        if name or targets:
            raise UsageError(
                "--gitrepo excludes --name and --targets", next_step="Leave these out."
            )
        repo = _gitrepo(gitrepo, workspace)
        spec = msgspec.structs.replace(repo.spec, paths=list(paths)) if paths else repo.spec
        return PreviewRequest(msgspec.structs.replace(repo, spec=spec), restricted=True)
    targets_file = _targets(targets) if targets else None
    repo_name = name or clean(
        Path(place.rpartition("@")[0] if not Path(place).is_dir() else place).resolve().name
    )
    spec = GitRepoSpec(
        repo=place, paths=list(paths), targets=targets_file.targets if targets_file else None
    )
    repo = RepoSpec(
        workspace=Workspace(workspace or DEFAULT_WORKSPACE), name=RepoName(repo_name), spec=spec
    )
    return PreviewRequest(repo, restricted=bool(targets_file and targets_file.target_restrictions))


def _targets(path: Path) -> _Targets:
    document = load(text_of(path), file=str(path), strict=True)
    if not isinstance(document, dict) or not isinstance(document.get("targets"), list):
        raise InvalidFile(
            "holds no list `targets`",
            file=str(path),
            next_step="Write `targets:` and a list of targets below it.",
        )
    return convert(document, _Targets, Origin(str(path)))


def _gitrepo(path: Path, workspace: str) -> RepoSpec:
    for document in load_all(text_of(path), file=str(path), strict=True):
        for value, _ in objects(document):
            if kind_of(value) == "GitRepo":
                repo = repo_spec(value, file=str(path))
                return (
                    msgspec.structs.replace(repo, workspace=Workspace(workspace))
                    if workspace
                    else repo
                )
    raise InvalidFile(
        "contains no GitRepo", file=str(path), next_step="Name a file with `kind: GitRepo`."
    )


def everywhere(request: PreviewRequest) -> PreviewRequest:
    """Add a target for every cluster if the GitRepo has no targets."""
    import msgspec

    from fleetctl.core.documents.gitrepo import GitTarget

    spec = request.repo.spec
    if spec.targets is not None:
        return request
    repo = msgspec.structs.replace(
        request.repo,
        spec=msgspec.structs.replace(spec, targets=[GitTarget(name="all", cluster_selector={})]),
    )
    return PreviewRequest(repo, request.restricted)
