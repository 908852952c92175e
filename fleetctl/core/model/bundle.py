"""A bundle: its files, its options and its targets. `core/formats/bundle_archive.py` packs the
files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from fleetctl.core.model.ids import BundleName, CommitId, Digest, RepoName, Workspace
from fleetctl.core.model.options import Options
from fleetctl.core.model.wire import Dependency


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    files: int = 20_000
    depth: int = 32
    path_bytes: int = 1024
    part_bytes: int = 255  # of a file's or folder's name, as in Linux
    file_bytes: int = 5 * 1024 * 1024
    total_bytes: int = 64 * 1024 * 1024


DEFAULT_LIMITS = Limits()


class File(msgspec.Struct, frozen=True):
    data: bytes
    executable: bool = False


Files = Mapping[str, File]


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Who: all criteria that are stated must hold. A selector of {} matches every cluster; none
    stated matches nobody.
    """

    name: str = ""
    cluster_name: str = ""
    cluster_selector: dict[str, Any] | None = None
    cluster_group: str = ""
    cluster_group_selector: dict[str, Any] | None = None
    do_not_deploy: bool = False
    options: Options = Options()


class BundleSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What a scan makes of one directory. `targets` say who gets it, `customizations` how it
    differs there.
    """

    workspace: Workspace
    name: BundleName
    repo: RepoName = RepoName("")
    path: str = ""
    commit: CommitId = CommitId("")
    labels: dict[str, str] = {}
    options: Options = Options()
    targets: list[Target] = []
    overrides_targets: bool = False  # the targets stand in fleet.yaml, not in the GitRepo
    customizations: list[Target] = []
    customization_mode: str = "FirstMatch"
    depends_on: list[Dependency] = []
    paused: bool = False
    archive: Digest = Digest("")
    size: int = 0
    files: int = 0
    rollout_strategy: dict[str, Any] | None = None
    moved_from: BundleName = BundleName("")  # what it was called; its releases stay


def chart_folder(chart: str, repo: str, version: str) -> str:
    """Where a fetched chart stands in the archive; whoever has the options of a cluster finds the
    chart that they mean.
    """
    return ".charts/" + chart_digest(chart, repo, version)[:16]


def chart_digest(chart: str, repo: str, version: str) -> str:
    """As Fleet names it (rancher/fleet `bundlereader.checksum`)."""
    return hashlib.sha256(f"{chart}:{repo}:{version}".encode()).hexdigest()


def check_path(path: str, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Why `path` may not stand in an archive, or None."""
    parts = path.split("/")
    if not path or path.startswith("/") or any(p in {"", ".", ".."} for p in parts):
        return "is not a plain relative path"
    if len(path.encode()) > limits.path_bytes or len(parts) > limits.depth:
        return f"is longer than {limits.path_bytes} bytes or deeper than {limits.depth} folders"
    if any(len(p.encode()) > limits.part_bytes for p in parts):
        return f"has a part of more than {limits.part_bytes} bytes"
    if any(ord(c) < 32 or ord(c) == 127 or c == "\\" for c in path):
        return "holds a control character or a backslash"
    if any(p.lower() == ".git" for p in parts):
        return "passes through a .git folder"
    return None
