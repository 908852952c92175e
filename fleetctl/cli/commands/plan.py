"""`fleetctl plan`: shows what a commit, a branch or a working copy would change on the fleet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.options import ContextName, Workspace
from fleetctl.cli.plan_display.markdown import markdown
from fleetctl.cli.plan_display.objects import Pictures, as_document, render_pictures
from fleetctl.cli.plan_display.text import number, print_plan
from fleetctl.cli.preview.options import ApiVersions, KubeVersion, Mirrors
from fleetctl.cli.preview.request import DEFAULT_WORKSPACE, PreviewRequest, preview_request
from fleetctl.cli.preview.scan import build_bundles, mirrors_of, scan_local
from fleetctl.cli.session import Session, open_session
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
class _PlanRequest:
    """The request to the manager, and the archives that only this machine has."""

    request: dict[str, Any]
    archives: dict[Digest, bytes] = field(default_factory=dict)


def plan(
    name: Annotated[
        str,
        typer.Argument(metavar="GITREPO", help="The GitRepo. The default is the one in -f FILE."),
    ] = "",
    commit: Annotated[
        str, typer.Option("--commit", metavar="SHA", help="A commit of the repository.")
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
            help=(
                "A folder with all its uncommitted changes, or CLONE@REVISION. Nothing is fetched."
            ),
        ),
    ] = "",
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--filename",
            metavar="FILE",
            help="File with a GitRepo that is new or changed.",
        ),
    ] = None,
    yes_delete: Annotated[
        int | None,
        typer.Option(
            "--yes-delete",
            metavar="N",
            min=0,
            help="Confirm that exactly this number of deployments is removed.",
        ),
    ] = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Use exit status 0 also if something would change.")
    ] = False,
    no_diff: Annotated[
        bool,
        typer.Option(
            "--no-diff", help="Only count; do not render objects and show no differences."
        ),
    ] = False,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Also show the values of Secrets.")
    ] = False,
    mirror: Mirrors = None,
    kube_version: KubeVersion = "",
    api_versions: ApiVersions = None,
    output: Annotated[
        PlanFormat, typer.Option("-o", "--output", help="Output format.")
    ] = PlanFormat.TABLE,
    workspace: Workspace = "",
    context: ContextName = "",
) -> int:
    """Show what a commit would change on the fleet: bundles, clusters, objects, order, deletions.
    The command changes nothing.

    Exit status: 0 nothing would change; 1 something would change; 2 wrong input, or a bundle that
    cannot be built; 3 more deletions than are allowed without --yes-delete.
    """
    capabilities = parse_capabilities(kube_version, api_versions or [])
    try:
        with open_session(context, workspace) as session:
            plan_request = _make_request(
                session,
                name,
                commit=commit,
                branch=branch,
                local=local,
                file=file,
                mirrors=mirrors_of(mirror or []),
            )
            answer = session.client.call("POST", "plan", plan_request.request, seconds=_SECONDS)
            answer_plan = msgspec.json.decode(msgspec.json.encode(answer), type=Plan)
            archives, diffs = (
                _ArchiveFetcher(session, plan_request.archives),
                not no_diff and output != "name",
            )
            pictures = render_pictures(
                answer_plan,
                archives,
                show_secrets=show_secrets,
                diffs=diffs,
                capabilities=capabilities,
            )
    except FleetError as error:
        # 1 means "something changes" here, as of `kubectl diff`.
        error.status = WRONG if error.status == CHANGES else error.status
        raise
    refusal = _refusal(answer_plan, yes_delete)
    _print(answer_plan, pictures, output, refusal)
    return _status(answer_plan, pictures, refusal, exit_zero=exit_zero)


def _make_request(
    session: Session,
    name: str,
    *,
    commit: str,
    branch: str,
    local: str,
    file: Path | None,
    mirrors: dict[str, str],
) -> _PlanRequest:
    """Build the request. Raises UsageError and the errors of the files."""
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
        return _PlanRequest(request)
    return _scan_local_folder(request, document, local, mirrors)


def _document(session: Session, name: str, file: Path | None) -> dict[str, Any]:
    """The GitRepo to plan for: the present one, or the one in the file."""
    if file is None:
        if not name:
            raise UsageError(
                "no GitRepo is named", subject="plan", next_step="Name it, or write -f FILE."
            )
        if "/" in name or name in {".", ".."}:
            step = f"Write `fleetctl plan GITREPO --local {name}`."
            raise UsageError(f"{name} is no GitRepo's name", subject="plan", next_step=step)
        return session.client.get("gitrepos", session.workspace, name)
    repo = preview_request("", "", "", [], None, file).repo
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
    document: dict[str, Any] = next(
        d for d in documents if isinstance(d, dict) and d.get("kind") == "GitRepo"
    )
    meta = document.get("metadata") or {}
    return {
        **document,
        "metadata": {
            **meta,
            "name": name,
            "namespace": meta.get("namespace") or session.workspace or DEFAULT_WORKSPACE,
        },
    }


def _scan_local_folder(
    request: dict[str, Any], document: dict[str, Any], local: str, mirrors: dict[str, str]
) -> _PlanRequest:
    """Scan the folder on this machine and add its bundles to the request."""
    from fleetctl.core.documents.gitrepo import repo_spec

    scan = scan_local(local, PreviewRequest(repo_spec(document)))
    built_bundles, chart_problems = build_bundles(scan.drafts, mirrors)
    commit = built_bundles[0].spec.commit if built_bundles else ""
    request |= {
        "commit": commit,
        "bundles": [b.spec for b in built_bundles],
        "problems": [*scan.problems, *chart_problems],
    }
    # The manager returns the warnings with the plan; some of them prevent a removal.
    warnings = limit_warnings(scan.warnings)
    request |= {"warnings": warnings} if warnings else {}
    request |= {"unread": scan.unread} if scan.unread else {}
    return _PlanRequest(request, {b.spec.archive: b.archive for b in built_bundles})


class _ArchiveFetcher:
    """Reads archives from this machine or from the manager, by their digest."""

    def __init__(self, session: Session, local_archives: dict[Digest, bytes]) -> None:
        self._session, self._local_archives = session, local_archives

    def __call__(self, digest: Digest) -> bytes:
        """Raises UnavailableError when what came is something else."""
        from fleetctl.core.formats.bundle_archive import archive_digest
        from fleetctl.core.model.errors import UnavailableError

        if digest in self._local_archives:
            return self._local_archives[digest]
        data = self._session.client.download(relative("archives", digest))
        if archive_digest(data) != digest:
            raise UnavailableError(
                "an archive came broken", subject=f"archive {digest[:12]}", next_step="Try again."
            )
        return data


def _refusal(plan_: Plan, confirmed_number: int | None) -> str:
    """Why not, or ""."""
    amount = plan_.removals.deployments
    if confirmed_number is None:
        return plan_.removals.refused
    return (
        f"{number(amount, 'deployment')} would be removed, not {number(confirmed_number)}"
        if confirmed_number != amount
        else ""
    )


def _print(plan_: Plan, pictures: Pictures, form: PlanFormat, refusal: str) -> None:
    if form is PlanFormat.NAME:
        for impact in plan_.bundles:
            out.line(f"bundle/{impact.bundle}")
    elif form is PlanFormat.MARKDOWN:
        out.raw(markdown(plan_, pictures, refusal))
    elif form in {PlanFormat.JSON, PlanFormat.YAML}:
        out.document(as_document(plan_, pictures) | {"refused": refusal}, Format(form.value))
    else:
        print_plan(plan_, pictures, wide=form is PlanFormat.WIDE)
    for warning in plan_.warnings:
        out.say(f"warning: {warning.summary}")
    for hint in pictures.hints:
        out.say(hint)
    for problem in plan_.problems:
        out.error(problem.summary, problem.next_step)


def _status(plan_: Plan, pictures: Pictures, refusal: str, *, exit_zero: bool) -> int:
    """Raises TooManyDeletes."""
    if plan_.problems or pictures.has_failures:
        return WRONG
    if refusal:
        amount = plan_.removals.deployments
        subject = f"GitRepo {plan_.workspace}/{plan_.gitrepo}"
        step = f"Read the deletions, then use --yes-delete {amount}." if amount else "Look again."
        raise TooManyDeletes(refusal, subject=subject, next_step=step)
    return CHANGES if plan_.changes and not exit_zero else 0
