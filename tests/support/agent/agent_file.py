"""`fleet-agent.pyz` of this checkout, built once a run, and others made out of it in no time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from agent.packaging.bootstrap import ABOUT, SITE

ROOT = Path(__file__).parents[3]


def build(target: Path, version: str = "") -> Path:
    """As `make agent` does."""
    words = [
        sys.executable,
        "-m",
        "agent.packaging.build",
        str(target),
        *([version] if version else []),
    ]
    subprocess.run(words, check=True, cwd=ROOT, capture_output=True)
    return target


def variant(
    source: Path,
    target: Path,
    version: str,
    change: Callable[[dict[str, bytes]], None] = lambda _: None,
) -> Path:
    """Another version of a built file; `change` edits its packages' files, whose digests are made
    anew.
    """
    with zipfile.ZipFile(source) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    about = json.loads(entries[ABOUT])
    site = {
        name.removeprefix(SITE): data for name, data in entries.items() if name.startswith(SITE)
    }
    for name in [n for n in site if n.startswith("fleetctl-")]:
        del site[name]
    site[f"fleetctl-{version}.dist-info/METADATA"] = (
        f"Metadata-Version: 2.1\nName: fleetctl\nVersion: {version}\n".encode()
    )
    change(site)
    about |= {
        "version": version,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in site.items()},
    }
    kept = {name: data for name, data in entries.items() if not name.startswith(SITE)}
    kept |= {ABOUT: json.dumps(about).encode()} | {SITE + name: data for name, data in site.items()}
    with target.open("wb") as out:
        out.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, data in kept.items():
                archive.writestr(
                    zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED
                )
    return target


def bare() -> str:
    """The Python below this virtual environment."""
    return str(Path(sys.base_prefix) / "bin" / "python3")
