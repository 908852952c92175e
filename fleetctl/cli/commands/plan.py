"""`fleetctl plan`: what a commit, a branch or a working copy would change on the fleet as it
stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.plan.markdown import markdown
from fleetctl.cli.display.plan.objects import Pictures, as_document, pictured
from fleetctl.cli.display.plan.text import number, shown
from fleetctl.cli.options import ContextName, Workspace
from fleetctl.cli.preview.options import ApiVersions, KubeVersion, Mirrors
from fleetctl.cli.preview.request import DEFAULT_WORKSPACE, Wish, wish_of
from fleetctl.cli.preview.scan import built, mirrors_of, scan_local
from fleetctl.cli.session import Session, opened
from fleetctl.core.charts.capabilities import parse_capabilities
from fleetctl.core.formats.url_path import relative
from fleetctl.core.model.errors import FleetError, TooManyDeletes, UsageError
from fleetctl.core.model.ids import Digest
from fleetctl.core.rollout.impact import Plan
from fleetctl.core.scan.problems import limit_warnings

CHANGES, WRONG = 1, 2
_SECONDS = 250.0


class PlanFormat(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    MARKDOWN = "markdown"


@dataclass
class _Asked:
    """What the manager is asked, and the archives that only this machine has."""

    request: dict[str, Any]
    archives: dict[Digest, bytes] = field(default_factory=dict)


def plan(
    name: Annotated[
        str, typer.Argument(metavar="GITREPO", help="The GitRepo; that of -f FILE when not given.")
    ] = "",
    commit: Annotated[
        str, typer.Option("--commit", metavar="SHA", help="This commit, of its repository.")
    ] = "",
    branch: Annotated[
        str,
        typer.Option("--branch", metavar="NAME", help="The newest commit of this branch or tag."),
    ] = "",
    local: Annotated[
        str,
        typer.Option(
            "--local",
            "--path",
            metavar="DIR",
            help="This folder as it lies there, or CLONE@REVISION; nothing is fetched.",
        ),
    ] = "",
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--filename",
            metavar="FILE",
            help="A GitRepo as it would be applied, new or changed.",
        ),
    ] = None,
    yes_delete: Annotated[
        int | None,
        typer.Option(
            "--yes-delete",
            metavar="N",
            min=0,
            help="Agree that exactly so many deployments are removed.",
        ),
    ] = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit status 0 also when something changes.")
    ] = False,
    no_diff: Annotated[
        bool, typer.Option("--no-diff", help="Count only; render and show no differences.")
    ] = False,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Also the values of Secrets.")
    ] = False,
    mirror: Mirrors = None,
    kube_version: KubeVersion = "",
    api_versions: ApiVersions = None,
    output: Annotated[
        PlanFormat, typer.Option("-o", "--output", help="Form of the answer.")
    ] = PlanFormat.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> int:
    """What a commit would change on the fleet as it stands: bundles, clusters, objects, order,
    deletions. Nothing is changed.

    Exit status: 0 nothing changes, 1 something does, 2 wrong input or a bundle that cannot be made,
    3 more is deleted than goes unasked.
    """
    capabilities = parse_capabilities(kube_version, api_versions or [])
    try:
        with opened(context, workspace) as session:
            asked = _asked(
                session,
                name,
                commit=commit,
                branch=branch,
                local=local,
                file=file,
                mirrors=mirrors_of(mirror or []),
            )
            answer = session.client.call("POST", "plan", asked.request, seconds=_SECONDS)
            found = msgspec.json.decode(msgspec.json.encode(answer), type=Plan)
            archives, diffs = _Fetcher(session, asked.archives), not no_diff and output != "name"
            pictures = pictured(
                found, archives, show_secrets=show_secrets, diffs=diffs, capabilities=capabilities
            )
    except FleetError as error:
        # 1 means "something changes" here, as of `kubectl diff`.
        error.status = WRONG if error.status == CHANGES else error.status
        raise
    refused = _refused(found, yes_delete)
    _print(found, pictures, output, refused)
    return _status(found, pictures, refused, exit_zero=exit_zero)


def _asked(
    session: Session,
    name: str,
    *,
    commit: str,
    branch: str,
    local: str,
    file: Path | None,
    mirrors: dict[str, str],
) -> _Asked:
    """Raises UsageError, and what is wrong with the files."""
    if sum(map(bool, (commit, branch, local))) > 1:
        raise UsageError(
            "--commit, --branch and --local exclude one another",
            subject="plan",
            next_step="Give one of them.",
        )
    document = _document(session, name, file)
    meta = document["metadata"]
    request = {
        "workspace": meta["namespace"],
        "gitrepo": meta["name"],
        "branch": branch,
        "commit": commit,
    }
    if file is not None:
        request["document"] = document
    if not local:
        return _Asked(request)
    return _scanned(request, document, local, mirrors)


def _document(session: Session, name: str, file: Path | None) -> dict[str, Any]:
    """The GitRepo that is planned for: as it is, or as the file says."""
    if file is None:
        if not name:
            raise UsageError(
                "no GitRepo is named", subject="plan", next_step="Name it, or write -f FILE."
            )
        if "/" in name or name in {".", ".."}:
            step = f"Write `fleetctl plan GITREPO --local {name}`."
            raise UsageError(f"{name} is no GitRepo's name", subject="plan", next_step=step)
        return session.client.get("gitrepos", session.workspace, name)
    repo = wish_of("", "", "", [], None, file).repo
    if name and name != repo.name:
        raise UsageError(
            f"{file} is GitRepo {repo.name}",
            subject=name,
            next_step="Leave the name out, or correct the file.",
        )
    return _of_file(file, repo.name, session)


def _of_file(file: Path, name: str, session: Session) -> dict[str, Any]:
    from fleetctl.cli.preview.request import text_of
    from fleetctl.core.formats.yaml import load_all

    documents = load_all(text_of(file), file=str(file), strict=True)
    found: dict[str, Any] = next(
        d for d in documents if isinstance(d, dict) and d.get("kind") == "GitRepo"
    )
    meta = found.get("metadata") or {}
    return {
        **found,
        "metadata": {
            **meta,
            "name": name,
            "namespace": meta.get("namespace") or session.workspace or DEFAULT_WORKSPACE,
        },
    }


def _scanned(
    request: dict[str, Any], document: dict[str, Any], local: str, mirrors: dict[str, str]
) -> _Asked:
    """What this machine makes of the folder."""
    from fleetctl.core.documents.gitrepo import repo_spec

    scan = scan_local(local, Wish(repo_spec(document)))
    made, more = built(scan.drafts, mirrors)
    commit = made[0].spec.commit if made else ""
    request |= {
        "commit": commit,
        "bundles": [b.spec for b in made],
        "problems": [*scan.problems, *more],
    }
    # The manager returns the warnings with the plan; some of them prevent a removal.
    warnings = limit_warnings(scan.warnings)
    request |= {"warnings": warnings} if warnings else {}
    request |= {"unread": scan.unread} if scan.unread else {}
    return _Asked(request, {b.spec.archive: b.archive for b in made})


class _Fetcher:
    """Archives: of this machine, or of the manager, which says what they are by their digest."""

    def __init__(self, session: Session, mine: dict[Digest, bytes]) -> None:
        self._session, self._mine = session, mine

    def __call__(self, digest: Digest) -> bytes:
        """Raises UnavailableError when what came is something else."""
        from fleetctl.core.formats.bundle_archive import archive_digest
        from fleetctl.core.model.errors import UnavailableError

        if digest in self._mine:
            return self._mine[digest]
        data = self._session.client.download(relative("archives", digest))
        if archive_digest(data) != digest:
            raise UnavailableError(
                "an archive came broken", subject=f"archive {digest[:12]}", next_step="Try again."
            )
        return data


def _refused(found: Plan, agreed: int | None) -> str:
    """Why not, or ""."""
    amount = found.removals.deployments
    if agreed is None:
        return found.removals.refused
    return (
        f"{number(amount, 'deployment')} would be removed, not {number(agreed)}"
        if agreed != amount
        else ""
    )


def _print(found: Plan, pictures: Pictures, form: PlanFormat, refused: str) -> None:
    if form is PlanFormat.NAME:
        for impact in found.bundles:
            out.line(f"bundle/{impact.bundle}")
    elif form is PlanFormat.MARKDOWN:
        out.raw(markdown(found, pictures, refused))
    elif form in {PlanFormat.JSON, PlanFormat.YAML}:
        out.document(as_document(found, pictures) | {"refused": refused}, Format(form.value))
    else:
        shown(found, pictures, wide=form is PlanFormat.WIDE)
    for warning in found.warnings:
        out.say(f"warning: {warning.summary}")
    for hint in pictures.hints:
        out.say(hint)
    for problem in found.problems:
        out.error(problem.summary, problem.next_step)


def _status(found: Plan, pictures: Pictures, refused: str, *, exit_zero: bool) -> int:
    """Raises TooManyDeletes."""
    if found.problems or pictures.failed:
        return WRONG
    if refused:
        amount = found.removals.deployments
        subject = f"GitRepo {found.workspace}/{found.gitrepo}"
        step = (
            f"Read what is deleted, then write --yes-delete {amount}." if amount else "Look again."
        )
        raise TooManyDeletes(refused, subject=subject, next_step=step)
    return CHANGES if found.changes and not exit_zero else 0
