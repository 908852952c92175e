"""Where helm and kustomize are: PATH, KUBEBUILDER_ASSETS, then the cache that `make tools`
fills.
"""

from __future__ import annotations

import os
import re
import shutil

from fleetctl.environment import cache_folder, kubebuilder_assets


def helm(*, path_only: bool = False) -> tuple[str, ...] | None:
    """The command, None when there is none. `path_only`: look in PATH alone, as an agent does."""
    path = _find(path_only, "helm")
    return (path,) if path else None


def kustomize(*, path_only: bool = False) -> tuple[str, ...] | None:
    """The command: kustomize, or that of kubectl; None when there is neither."""
    if path := _find(path_only, "kustomize"):
        return (path,)
    kubectl = _find(path_only, "kubectl")
    return (kubectl, "kustomize") if kubectl else None


def _find(path_only: bool, name: str) -> str | None:
    if (path := shutil.which(name)) or path_only:
        return path
    assets = kubebuilder_assets()
    return (shutil.which(name, path=assets) if assets else None) or _find_in_cache(name)


def _find_in_cache(name: str) -> str | None:
    """The newest of its versions."""
    root = cache_folder() / "fleetctl" / "tools"
    paths = [path for path in root.glob(f"{name}-*/{name}") if os.access(path, os.X_OK)]
    return (
        str(max(paths, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)]))
        if paths
        else None
    )
