"""Which chart the options of a bundle mean: one in the repository, or one that has to be fetched.

Rule: options that mean the same chart are the same options. `helm.repo: oci://HOST/PATH` without
`helm.chart` (Fleet's form) and `helm.chart: oci://HOST/PATH` (deprecated in Fleet) become one form
at the scan, so that a bundle that changes from one to the other is not deployed again. Scan, render
and preview all ask this module, so that a fetched chart is always found in the archive again.
"""

from __future__ import annotations

import posixpath
import re

import msgspec

from fleetctl.core.model.bundle import chart_folder
from fleetctl.core.model.options import HelmOptions

OCI = "oci://"
_FORCED_GETTER = re.compile(r"([a-z][a-z0-9+-]*)::", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCP = re.compile(r"[\w.-]+@[\w.-]+:(?!//)")
_GIT_HOSTS = ("github.com/", "gitlab.com/", "bitbucket.org/")
_GIT_SCHEMES = frozenset({"git", "ssh", "git+ssh", "git+https", "git+http"})
_FETCHED_SCHEMES = frozenset({"http", "https", "oci"})
OTHER_GIT = "a chart in another Git repository is not supported"
_COPY = (
    "Copy the chart into this repository, or publish it in a chart repository or OCI registry and"
    " name that in `helm.repo`."
)


class ChartRequest(msgspec.Struct, frozen=True):
    """A chart that must be fetched: `repo` and a name, an `oci://` address, or a tarball's URL."""

    chart: str
    repo: str = ""
    version: str = ""

    @property
    def folder(self) -> str:
        return chart_folder(self.chart, self.repo, self.version)


def with_one_form(helm: HelmOptions) -> HelmOptions:
    """The same options with an OCI address in `chart` alone, however it was written."""
    chart, repo = helm.chart or "", helm.repo or ""
    if repo.startswith(OCI):
        address = repo.rstrip("/")
        # Fleet reads the repo alone; a chart that only repeats its last segment means the same.
        if not chart or chart.startswith(OCI) or address.endswith(f"/{chart}"):
            return msgspec.structs.replace(helm, chart=address, repo=None)
    elif repo and chart.startswith(OCI):
        return msgspec.structs.replace(helm, repo=None)
    return helm


def remote_chart(helm: HelmOptions) -> ChartRequest | None:
    """The chart that must be fetched, or None for one in the repository, and for none."""
    helm = with_one_form(helm)
    chart, repo = helm.chart or "", helm.repo or ""
    if not repo and not _SCHEME.match(chart):
        return None
    return ChartRequest(chart, repo, helm.version or "")


def local_folder(helm: HelmOptions) -> str:
    """The folder in the bundle that `helm.chart` names, "" for its root. `./a//b` is `a/b`."""
    path = posixpath.normpath((helm.chart or "").strip("/") or ".")
    return "" if path == "." else path


def describe_unsupported(chart: str, repo: str = "") -> tuple[str, str] | None:
    """(what is wrong with the address, next step) for a chart that no version here fetches.

    Fleet takes go-getter addresses: other Git repositories, buckets, folders in an archive.
    """
    if repo or not chart:
        return None
    match = _FORCED_GETTER.match(chart)
    rest = chart[match.end() :] if match else chart
    scheme = _SCHEME.match(rest)
    name = scheme[1].lower() if scheme else ""
    forced_name = match[1].lower() if match else ""
    is_git = forced_name in {"git", "ssh"} or name in _GIT_SCHEMES
    if is_git or rest.startswith(_GIT_HOSTS) or (not scheme and _SCP.match(rest)):
        return OTHER_GIT, _COPY
    if name in {"http", "https"} and _names_git(rest):
        return OTHER_GIT, _COPY
    if match or (name and name not in _FETCHED_SCHEMES):
        step = "Give an https:// address of an archive, an oci:// address, or a path."
        return f"a chart by {forced_name or name} is not supported", step
    path = rest.partition("?")[0]
    if scheme and "//" in path[scheme.end() :]:
        summary = "a folder inside a chart archive (`//`) is not supported"
        return summary, "Give the address of an archive that holds one chart."
    return None


def _names_git(address: str) -> bool:
    path, _, query = address.partition("?")
    in_repository = path.rstrip("/").endswith(".git") or ".git//" in path
    return in_repository or query.startswith("ref=") or "&ref=" in query
