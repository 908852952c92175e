"""Scans a folder or a commit into bundles, without a manager."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from fleetctl.cli.display import output as out
from fleetctl.cli.preview.request import PreviewRequest
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import CommitId
from fleetctl.core.scan.draft import Draft
from fleetctl.core.scan.problems import ScanProblem
from fleetctl.core.scan.scan import Scan, ScannedBundle, scan


def scan_drafts(
    place: str, request: PreviewRequest
) -> tuple[list[Draft], list[ScanProblem], list[ScanProblem]]:
    """Scan a place. Returns bundles, problems and warnings. Raises NotFound, UsageError."""
    result = scan_local(place, request)
    return result.drafts, result.problems, result.warnings


def scan_local(place: str, request: PreviewRequest) -> Scan:
    """Scan a folder, or a commit of a clone. Raises NotFound, UsageError."""
    from fleetctl.sources.local_tree import open_local

    tree = open_local(place)
    result = scan(tree, request.repo, commit=tree.commit or CommitId(""))
    # The scan names the GitRepo's branch, which this folder or commit need not be.
    problems = [_local_problem(problem, place) for problem in result.problems]
    return msgspec.structs.replace(result, problems=problems)


def _local_problem(problem: ScanProblem, place: str) -> ScanProblem:
    if problem.code != "no-such-path":
        return problem
    return msgspec.structs.replace(
        problem, summary=f"path {problem.path!r} holds no file in {place}"
    )


def build_bundles(
    drafts: list[Draft], mirrors: dict[str, str]
) -> tuple[list[ScannedBundle], list[ScanProblem]]:
    """Complete the bundles with their charts, fetched if the repository lacks them."""
    from fleetctl.sources.charts.complete import ChartSource, Login, complete_drafts

    # A person at their own machine may read what that machine reaches.
    return asyncio.run(
        complete_drafts(drafts, ChartSource(mirrors, ("0.0.0.0/0", "::/0"), Login()))
    )


PROBLEMS_STATUS = 1


def prepare_bundles(
    place: str, request: PreviewRequest, names: Sequence[str], mirrors: dict[str, str]
) -> tuple[list[ScannedBundle], list[ScanProblem], list[ScanProblem]]:
    """Scan and build. Returns bundles with their charts, problems and warnings."""
    drafts, problems, warnings = scan_drafts(place, request)
    built_bundles, chart_problems = build_bundles(only(drafts, names), mirrors)
    return built_bundles, [*problems, *chart_problems], warnings


def only(drafts: list[Draft], names: Sequence[str]) -> list[Draft]:
    """Keep the drafts with these names. Raises UsageError for a name that does not exist."""
    known = {str(d.spec.name) for d in drafts}
    for name in names:
        if name not in known:
            step = (
                f"There are {', '.join(sorted(known)[:10])}."
                if known
                else "See `fleetctl bundles`."
            )
            raise UsageError(f"there is no bundle {name!r}", subject="--bundle", next_step=step)
    return [d for d in drafts if not names or d.spec.name in names]


def mirrors_of(pairs: Sequence[str]) -> dict[str, str]:
    from fleetctl.sources.mirrors import parse_mirrors

    return parse_mirrors(pairs)


def report_problems(problems: Sequence[ScanProblem], warnings: Sequence[ScanProblem]) -> int:
    """Print problems and warnings to stderr. Returns the exit status."""
    for warning in warnings:
        out.say(f"warning: {warning.summary}")
    for problem in problems:
        out.error(problem.summary, problem.next_step)
    return PROBLEMS_STATUS if problems else 0
