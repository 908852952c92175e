"""Writes the files of a bundle into a folder that nobody else writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fleetctl.core.rendering.render import RenderPlan


def empty_folder(workdir: Path) -> None:
    """Create the folder, without the files that it had."""
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(mode=0o700, parents=True)


def write_files(plan: RenderPlan, folder: Path, prefix: str) -> None:
    """Write the bundle's files below `prefix` into `folder`. Raises FileExistsError for a file that
    exists.
    """
    start = f"{prefix}/" if prefix else ""
    for path, file in plan.files.items():
        if not path.startswith(start) or (not start and path.startswith(".charts/")):
            continue
        target = folder / path[len(start) :]
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(target, flags, 0o700 if file.executable else 0o600), "wb") as out:
            out.write(file.data)
