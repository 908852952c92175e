"""From drafts to bundles: the charts that they name are fetched, each once, and stand inside; what
is not to be had is a problem.

Charts that stand in Git get what their Chart.yaml names and their `charts/` lacks, unless
`disableDependencyUpdate` says no.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from fleetctl.core.charts.dependencies import inside_folder, own_charts
from fleetctl.core.charts.login_scope import may_have_login
from fleetctl.core.charts.reference import ChartRequest, remote_chart
from fleetctl.core.model.bundle import File, Files
from fleetctl.core.model.errors import FleetError, SourceError, UsageError
from fleetctl.core.model.options import HelmOptions, merge
from fleetctl.core.rendering.release_size import files_in_record, refuse_too_large
from fleetctl.core.rendering.render import chart_of
from fleetctl.core.scan.draft import Draft
from fleetctl.core.scan.problems import ScanProblem, internal_problem
from fleetctl.core.scan.scan import ScannedBundle, finish
from fleetctl.sources.charts import remote
from fleetctl.sources.egress import EgressPolicy
from fleetctl.sources.git import repository


@dataclass(frozen=True)
class Login:
    """A login for the chart addresses that `pattern` (helmRepoURLRegex) names, and no others."""

    pattern: str = ""
    credential: repository.Credential | None = None

    def credential_for(self, request: ChartRequest) -> repository.Credential | None:
        if self.credential is None:
            return None
        try:
            address = remote.address_of(request)
        except UsageError:
            return None  # the fetch reports it
        return self.credential if may_have_login(self.pattern, address) else None


@dataclass(frozen=True)
class ChartSource:
    """Where charts may come from, and the login for some of them."""

    mirrors: Mapping[str, str]
    allow_egress: tuple[str, ...]
    login: Login


async def complete_drafts(
    drafts: list[Draft], source: ChartSource
) -> tuple[list[ScannedBundle], list[ScanProblem]]:
    """The bundles that can be made, packed, and what stands in the way of the others."""
    whole, lacking = await _with_dependencies(drafts, source)
    policy = EgressPolicy(source.allow_egress)
    results: dict[ChartRequest, Files | FleetError] = {}
    for request in dict.fromkeys(r for d in whole for r in d.charts):
        try:
            chart = await remote.fetch_chart(
                request,
                credential=source.login.credential_for(request),
                mirrors=source.mirrors,
                egress=policy,
            )
            results[request] = chart.files
        except FleetError as error:
            results[request] = error
        except (Exception, MemoryError) as error:
            step = "Package the chart again, or report this with the chart."
            results[request] = UsageError(
                f"chart {request.chart}: {type(error).__name__}: {str(error)[:200]}", next_step=step
            )
    bundles, problems = await asyncio.to_thread(_finish, whole, results)
    return bundles, [*lacking, *problems]


async def _with_dependencies(
    drafts: list[Draft], source: ChartSource
) -> tuple[list[Draft], list[ScanProblem]]:
    policy = EgressPolicy(source.allow_egress)
    files, problems = [], []
    for draft in drafts:
        try:
            files.append(await _whole(draft, source, policy))
        except FleetError as error:
            problems.append(_problem_of(draft, error))
        except (Exception, MemoryError) as error:
            problems.append(internal_problem(draft.spec.path, error))
    return files, problems


async def _whole(draft: Draft, source: ChartSource, policy: EgressPolicy) -> Draft:
    """The draft with what its own charts depend on; fetched files have no fingerprint."""
    helms = [draft.spec.options.helm, *(t.options.helm for t in draft.spec.customizations)]
    if any(helm and helm.disable_dependency_update for helm in helms):
        return draft
    added_files: dict[str, File] = {}
    for folder in own_charts(helms, draft.files):
        files = inside_folder(draft.files, folder)
        chart = await remote.fetch_dependencies(files, mirrors=source.mirrors, egress=policy)
        added_files |= {folder + path: file for path, file in chart.items()}
    return (
        msgspec.structs.replace(draft, files=draft.files | added_files, fingerprint="")
        if added_files
        else draft
    )


def _finish(
    drafts: list[Draft], results: Mapping[ChartRequest, Files | FleetError]
) -> tuple[list[ScannedBundle], list[ScanProblem]]:
    bundles, problems = [], []
    for draft in drafts:
        missing = next(
            (e for e in (results[r] for r in draft.charts) if isinstance(e, FleetError)), None
        )
        try:
            if missing:
                raise missing  # noqa: TRY301 - handled as what a draft raises itself
            if draft.is_made:
                bundles.append(
                    ScannedBundle(spec=draft.spec, archive=b"", fingerprint=draft.fingerprint)
                )
                continue
            charts_of_it = {r: f for r, f in results.items() if not isinstance(f, FleetError)}
            _refuse_too_large(draft, charts_of_it)
            bundles.append(finish(draft, charts_of_it))
        except FleetError as error:
            problems.append(_problem_of(draft, error))
        except (Exception, MemoryError) as error:
            problems.append(internal_problem(draft.spec.path, error))
    return bundles, problems


def _refuse_too_large(draft: Draft, results: Mapping[ChartRequest, Files]) -> None:
    """A chart whose own files no release record can hold, whatever it renders. Raises UsageError
    with the numbers.
    """
    for request in draft.charts:
        refuse_too_large(b"", request.chart, files_in_record(results[request], ""))
    options = [
        draft.spec.options,
        *(merge(draft.spec.options, t.options) for t in draft.spec.customizations),
    ]
    local = [helm for o in options if remote_chart(helm := o.helm or HelmOptions()) is None]
    for folder in dict.fromkeys(chart_of(draft.files, helm) for helm in local):
        if folder is not None:
            refuse_too_large(b"", draft.spec.name, files_in_record(draft.files, folder))


def _problem_of(draft: Draft, error: FleetError) -> ScanProblem:
    code = "source" if isinstance(error, SourceError) else error.code
    place = draft.spec.path or "the repository's root"
    return ScanProblem(
        path=draft.spec.path,
        code=code,
        summary=f"{place}: {error.summary}",
        next_step=error.next_step,
    )
