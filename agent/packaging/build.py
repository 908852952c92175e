"""`make agent`: the agent in one file, for hosts that have only Python and helm.

A zip of this checkout's agent with the pinned libraries; the file unpacks itself once
(agent/packaging/bootstrap.py). It holds compiled libraries, so it fits machines of the Python
version and platform that it was built on; another one gets one line. `fleet-agent.json` inside says
which they are, the version, and the digest of every file. The same checkout gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
from importlib import machinery, metadata
from pathlib import Path

from fleetctl.core.model.agent_release import runtime_of

from .bootstrap import ABOUT, SITE

_LIBRARIES = (
    "anyio",
    "certifi",
    "cffi",
    "cryptography",
    "google_re2",
    "h11",
    "httpcore",
    "httpx",
    "idna",
    "msgspec",
    "pycparser",
    "pyyaml",
    "typing_extensions",
)
_ROOT = Path(__file__).parents[2]
_DATE = (2020, 1, 1, 0, 0, 0)
# Runs in any Python, however old, before anything else is read.
_START = """import sys
if sys.version_info[:2] != {version!r} or sys.platform != {platform!r}:
    sys.exit(
        "fleet-agent.pyz is for Python {shown} on {platform}; "
        "build it there with `make agent`, or install fleetctl"
    )
import pathlib
import fleet_agent_unpack
fleet_agent_unpack.main(pathlib.Path(__file__).parent.absolute())
"""


def main() -> int:
    """Build to the path of the first argument; a second one is the version, when it is not the
    installed one's.
    """
    target = Path(sys.argv[1])
    version = sys.argv[2] if len(sys.argv) > 2 else metadata.version("fleetctl")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        _copy(site, version)
        write(target, site, version)
    sys.stdout.write(f"{target}: {target.stat().st_size // 1024} KiB\n")
    return 0


def write(target: Path, site: Path, version: str) -> None:
    """The file, of the packages in `site`."""
    files = {
        str(path.relative_to(site)): path.read_bytes()
        for path in sorted(site.rglob("*"))
        if path.is_file()
    }
    runtime = runtime_of(machinery.EXTENSION_SUFFIXES[0])
    about = {"version": version, "python": runtime.python, "platform": runtime.platform}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    python = sys.version_info[:2]
    start = _START.format(version=python, platform=sys.platform, shown=".".join(map(str, python)))
    entries = {
        "__main__.py": start.encode(),
        "fleet_agent_unpack.py": (_ROOT / "agent" / "packaging" / "bootstrap.py").read_bytes(),
        ABOUT: json.dumps(about | {"files": digests}, indent=1).encode(),
    }
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as out:
        out.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in (
                entries | {SITE + name: data for name, data in files.items()}
            ).items():
                archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)
    temporary.chmod(0o755)
    temporary.replace(target)


def _copy(site: Path, version: str) -> None:
    """The libraries as they are installed here (checked by the lock file), and our own packages."""
    for name in _LIBRARIES:
        distribution = metadata.distribution(name)
        for file in distribution.files or []:
            source = Path(str(distribution.locate_file(file)))
            if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
                continue
            target = site / Path(str(file))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(_ROOT / "agent", site / "agent", ignore=ignore)
    shutil.copytree(_ROOT / "fleetctl", site / "fleetctl", ignore=ignore)
    shutil.rmtree(site / "fleetctl" / "cli")
    shutil.rmtree(site / "fleetctl" / "sources")
    (site / "fleetctl" / "client.py").unlink()
    info = site / f"fleetctl-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fleetctl\nVersion: {version}\n")


if __name__ == "__main__":
    sys.exit(main())
