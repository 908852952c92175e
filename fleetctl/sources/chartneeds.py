"""What a chart depends on, and what of it stands below `charts/` already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fleetctl.core.bundle import File
from fleetctl.core.chartref import ChartRequest
from fleetctl.core.errors import UsageError
from fleetctl.core.semver import best, parse
from fleetctl.core.yamldoc import load
from fleetctl.sources.chartfile import meta


def vendored(files: Mapping[str, File]) -> set[str]:
    """The names of the charts that stand below `charts/`, as folders or as archives."""
    found: set[str] = set()
    for path, file in files.items():
        parts = path.split("/")
        if parts[0] != "charts":
            continue
        if len(parts) == 3 and parts[2] == "Chart.yaml":
            said = load(file.data, file=path)
            found.add(str(said.get("name") if isinstance(said, dict) else parts[1]))
        elif len(parts) == 2 and path.endswith(".tgz"):
            cuts = [m.start() for m in re.finditer("-", parts[1])]
            found |= {parts[1][:at] for at in cuts if parse(parts[1][at + 1 : -4])}
    return found


def needed(files: Mapping[str, File], name: str) -> list[ChartRequest]:
    """What Chart.yaml (or requirements.yaml of older charts) depends on, each once, at the version of the lock where there is one."""
    said = meta(files, name).get("dependencies")
    if said is None and "requirements.yaml" in files:
        said = _map(files, "requirements.yaml").get("dependencies")
    locks = _map(files, "Chart.lock") or _map(files, "requirements.lock")
    locked = {(str(d.get("name")), str(d.get("repository") or "")): str(d.get("version")) for d in _maps(locks.get("dependencies"))}
    found: dict[ChartRequest, None] = {}
    for one in _maps(said):
        chart, repo, version = (str(one.get(key) or "") for key in ("name", "repository", "version"))
        if repo.startswith(("@", "alias:")):
            step = "Write the repository's address in Chart.yaml."
            raise UsageError(
                f"{name} depends on {chart} of {repo}, a name that only one machine's helm knows", subject=name, next_step=step
            )
        lock = locked.get((chart, repo), "")
        exact = lock if lock and best(version, [lock]) else version
        found[ChartRequest(chart, "" if repo.startswith("file://") else repo, exact)] = None
    return list(found)


def _map(files: Mapping[str, File], path: str) -> dict[str, Any]:
    found = load(files[path].data, file=path) if path in files else None
    return found if isinstance(found, dict) else {}


def _maps(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
