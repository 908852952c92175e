"""`fleetctl bundles`: the bundles that a scan would make."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import key_column, print_table
from fleetctl.cli.options import NoHeaders, Output
from fleetctl.cli.preview.options import (
    GitRepoFile,
    InWorkspace,
    Mirrors,
    Paths,
    Place,
    RepoName,
    Targets,
)
from fleetctl.cli.preview.request import PreviewRequest, preview_request
from fleetctl.cli.preview.scan import build_bundles, mirrors_of, report_problems, scan_drafts
from fleetctl.core.scan.draft import Draft
from fleetctl.core.scan.scan import ScannedBundle

_BUNDLES = [
    key_column("NAME", "name"),
    key_column("PATH", "path", flexible=True),
    key_column("STYLE", "style"),
    key_column("FILES", "files"),
    key_column("BYTES", "bytes", wide=True),
    key_column("TARGETS", "targets", wide=True),
    key_column("CUSTOM", "customizations"),
    key_column("CHARTS", "charts", wide=True),
]


def bundles(
    place: Place,
    name: RepoName = "",
    workspace: InWorkspace = "",
    path: Paths = None,
    targets: Targets = None,
    gitrepo: GitRepoFile = None,
    mirror: Mirrors = None,
    output: Output = Format.TABLE,
    no_headers: NoHeaders = False,
) -> int:
    """List the bundles that a scan makes from a folder or a commit.

    `-o yaml` prints them as Fleet's Bundle documents.
    """
    mirrors = mirrors_of(mirror or [])
    request = preview_request(place, name, workspace, path or [], targets, gitrepo)
    drafts, problems, warnings = scan_drafts(place, request)
    if output in {Format.YAML, Format.JSON}:
        built_bundles, chart_problems = build_bundles(drafts, mirrors)
        problems = [*problems, *chart_problems]
        _documents(drafts, built_bundles, request, output)
    elif output is Format.NAME:
        for draft in drafts:
            out.line(f"bundle/{draft.spec.name}")
    else:
        print_table(
            _BUNDLES, [_row(d) for d in drafts], headers=not no_headers, wide=output is Format.WIDE
        )
    return report_problems(problems, warnings)


def _documents(
    drafts: list[Draft], built_bundles: list[ScannedBundle], request: PreviewRequest, form: Format
) -> None:
    from fleetctl.core.formats.bundle_archive import unpack
    from fleetctl.core.scan.bundle_document import bundle_document

    by_name = {d.spec.name: d for d in drafts}
    documents = [
        bundle_document(by_name[b.spec.name], unpack(b.archive), restricted=request.restricted)
        for b in built_bundles
    ]
    out.objects(documents, form)


def _row(draft: Draft) -> dict[str, Any]:
    spec = draft.spec
    return {
        "name": spec.name,
        "path": spec.path or ".",
        "style": _style(draft),
        "files": len(draft.files),
        "bytes": sum(len(f.data) for f in draft.files.values()),
        "targets": len(spec.targets),
        "customizations": len(spec.customizations),
        "charts": ", ".join(f"{c.chart} {c.version}".strip() for c in draft.charts),
    }


def _style(draft: Draft) -> str:
    from fleetctl.core.charts.reference import local_folder
    from fleetctl.core.filetree.tree import join
    from fleetctl.core.formats.yaml_stream import KUSTOMIZATIONS
    from fleetctl.core.model.options import HelmOptions
    from fleetctl.core.rendering.render import kustomize_folder

    options = draft.spec.options
    folder = local_folder(options.helm or HelmOptions())
    helm = bool(draft.charts) or join(folder, "Chart.yaml") in draft.files
    folders = {
        kustomize_folder(o) for o in (options, *(t.options for t in draft.spec.customizations))
    }
    kustomize = any(
        f is not None and join(f, name) in draft.files for f in folders for name in KUSTOMIZATIONS
    )
    return "+".join(word for word, on in (("helm", helm), ("kustomize", kustomize)) if on) or "raw"
