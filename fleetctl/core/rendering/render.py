"""From a bundle's files and options, on one cluster, to what the tools must do. Pure: the agent and
a preview make the same of the same.

Style: helm where a Chart.yaml is at the chart's path, kustomize where a kustomization stands at
`kustomize.dir`, both, or else raw YAML (rancher/fleet `internal/helmdeployer/render`). Manifests
pass as the bytes that Git holds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from fleetctl.core.charts.reference import local_folder, remote_chart
from fleetctl.core.filetree.tree import inside
from fleetctl.core.formats.redact import redacted
from fleetctl.core.formats.yaml import json_for_yaml
from fleetctl.core.formats.yaml_stream import KUSTOMIZATIONS, manifests_of
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName, is_name
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.rendering import kustomization
from fleetctl.core.rendering.overlays import lay
from fleetctl.core.rendering.values import ClusterFacts, values_of

TEMPLATES = "templates/"
MOST_RELEASE = 53  # characters of a release's name, by helm's own rule
_MANIFESTS = (".yaml", ".yml", ".json")
_PART = re.compile(r"\.part-\d+\Z")


class Style(StrEnum):
    RAW = "raw"
    HELM = "helm"
    KUSTOMIZE = "kustomize"
    BOTH = "helm+kustomize"


class RenderPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`chart`: folder of the chart in `files` ("" the root); `kustomize_dir`: folder of the
    kustomization; `values`: JSON; `keep_crds`: an uninstall leaves CustomResourceDefinitions, and
    so all objects of theirs; `chart_name`: of a chart that is made for the bundle;
    `forced_namespace`: everything goes there; `confined`: because the GitRepo says so, and nothing
    may get out.

    What `fleetctl.tools.chart_builder.examine` adds: `crds`, where the chart has definitions;
    `text` and `engine`, the objects of a raw bundle and its files for helm's engine, which take the
    place of `files`.
    """

    style: Style
    release: str
    namespace: str
    files: Mapping[str, File]
    chart: str = ""
    kustomize_dir: str = ""
    values: bytes = b"{}"
    forced_namespace: str = ""
    confined: bool = False
    keep_crds: bool = True
    skip_schema: bool = False
    disable_dns: bool = False
    chart_name: str = "fleetctl"
    crds: tuple[str, ...] | None = None
    text: bytes | None = None
    engine: Mapping[str, File] = {}

    @property
    def is_helm(self) -> bool:
        return self.style in {Style.HELM, Style.BOTH}

    @property
    def is_kustomize(self) -> bool:
        return self.style in {Style.KUSTOMIZE, Style.BOTH}


def plan(
    files: Mapping[str, File],
    options: Options,
    facts: ClusterFacts,
    *,
    bundle: BundleName,
    values_from: Sequence[dict[str, Any]] = (),
) -> RenderPlan:
    """What to run for `bundle` on the cluster of `facts`. Raises UsageError and InvalidFile; each
    concerns this cluster alone.
    """
    helm = options.helm or HelmOptions()
    release, namespace = release_of(options, bundle)
    chart = chart_of(files, helm)
    folder = kustomize_folder(options)
    is_kustomize = folder is not None and any(
        _join(folder, name) in files for name in KUSTOMIZATIONS
    )
    style = _style(is_helm=chart is not None, is_kustomize=is_kustomize)
    if options.kustomize and options.kustomize.dir and not is_kustomize:
        step = "Correct kustomize.dir."
        raise UsageError(
            f"kustomize.dir {options.kustomize.dir} holds no kustomization.yaml",
            subject=f"bundle {bundle}",
            next_step=step,
        )
    if folder is not None and is_kustomize:
        kustomization.check(files, folder, with_chart=style is Style.BOTH)
    overlays = (options.yaml.overlays if options.yaml else None) or []
    return RenderPlan(
        style=style,
        release=release,
        namespace=namespace,
        files=lay(files, overlays) if style is Style.RAW else files,
        chart=chart or "",
        kustomize_dir=folder or "",
        values=json_for_yaml(values_of(helm, facts, values_from)),
        forced_namespace=options.target_namespace or options.namespace or "",
        confined=bool(options.target_namespace),
        keep_crds=not options.delete_crd_resources,
        skip_schema=bool(helm.skip_schema_validation),
        disable_dns=bool(helm.disable_dns),
        chart_name=bundle,
    )


def kustomize_folder(options: Options) -> str | None:
    """The folder of the kustomization in the bundle, "" being its root; None for a path that leaves
    the bundle.
    """
    return inside((options.kustomize.dir if options.kustomize else None) or ".")


def part_name(release: str, part: int) -> str:
    """What part `part` (from 1) of a release is called that one record of helm cannot hold;
    `release_of` gives no bundle such a name.
    """
    if part == 1:
        return release
    tail = f".part-{part}"
    if len(release) + len(tail) > MOST_RELEASE:
        digest = hashlib.sha256(release.encode()).hexdigest()[:5]
        release = f"{release[: MOST_RELEASE - len(tail) - 6].rstrip('-.')}-{digest}"
    return release + tail


def release_of(options: Options, bundle: BundleName) -> tuple[str, str]:
    """(name, namespace) of the bundle's release. Raises UsageError when helm would not take
    them.
    """
    release = (options.helm.release_name if options.helm else None) or bundle
    namespace = (
        options.target_namespace or options.namespace or options.default_namespace or "default"
    )
    if not is_name(release, limit=MOST_RELEASE):
        step = "Use at most 53 small letters, digits, - and dots."
        raise UsageError(
            f"{release!r} is not a valid release name", subject=f"bundle {bundle}", next_step=step
        )
    if _PART.search(release):
        step = "Choose a name that does not end so."
        raise UsageError(
            f"{release} is a name that parts of large bundles have",
            subject=f"bundle {bundle}",
            next_step=step,
        )
    if not is_name(namespace, limit=63):
        raise UsageError(
            f"{namespace!r} is not a valid namespace",
            subject=f"bundle {bundle}",
            next_step="Correct it in fleet.yaml.",
        )
    return release, namespace


def manifests(files: Mapping[str, File]) -> bytes:
    """The objects of a raw bundle as one stream: every document with apiVersion and kind, byte for
    byte, in the order of the paths.
    """
    texts: list[bytes] = []
    for path in manifest_files(files):
        texts += manifests_of(files[path].data, path)
    return b"".join(b"---\n" + text.strip(b"\r\n") + b"\n" for text in texts)


def manifest_files(files: Mapping[str, File]) -> list[str]:
    """The paths of a raw bundle's manifests, sorted, without the templates."""
    return [path for path in _raw(files) if not path.startswith(TEMPLATES)]


def templates(files: Mapping[str, File]) -> dict[str, File]:
    """The files of a raw bundle that helm's template engine reads, as in Fleet: those in the folder
    `templates` at its root.
    """
    return {path: files[path] for path in _raw(files) if path.startswith(TEMPLATES)}


def _raw(files: Mapping[str, File]) -> list[str]:
    """What lies below a chart's folder is that chart's, and templates need not even be YAML; an
    inner bundle deploys its own.
    """
    inner = tuple(
        path.rpartition("/")[0] + "/"
        for path in files
        if path.endswith(("/Chart.yaml", "/fleet.yaml", "/fleet.yml"))
    )
    yaml_files = [
        path
        for path in files
        if path.endswith(_MANIFESTS) and path not in {"fleet.yaml", "fleet.yml"}
    ]
    return sorted((path for path in yaml_files if not path.startswith(inner)), key=str.encode)


def _style(*, is_helm: bool, is_kustomize: bool) -> Style:
    if is_helm:
        return Style.BOTH if is_kustomize else Style.HELM
    return Style.KUSTOMIZE if is_kustomize else Style.RAW


def chart_of(files: Mapping[str, File], helm: HelmOptions) -> str | None:
    """The folder of the chart, or None: fetched ones stand below `.charts/`."""
    request = remote_chart(helm)
    if request is not None:
        if f"{request.folder}/Chart.yaml" not in files:
            description = " ".join(filter(None, (request.chart, request.version, request.repo)))
            raise UsageError(
                f"the archive lacks the chart {redacted(description)}",
                subject="helm.chart",
                next_step="Scan the repository again.",
            )
        return request.folder
    folder = local_folder(helm)
    return folder if _join(folder, "Chart.yaml") in files else None


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
