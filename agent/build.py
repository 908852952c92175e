"""`make agent`: the agent in one file, for hosts that have only Python and helm.

shiv packs this checkout's agent with the pinned libraries; the file unpacks itself once, into a folder named by its digest. It holds
compiled libraries, so it fits machines of the Python version and platform that it was built on; another one gets one line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_NEEDED = (
    "anyio",
    "certifi",
    "cffi",
    "cryptography",
    "h11",
    "httpcore",
    "httpx",
    "idna",
    "msgspec",
    "pycparser",
    "pyyaml",
    "typing_extensions",
)
_ROOT = Path(__file__).parents[1]
_GUARD = """import sys
if sys.version_info[:2] != {version!r} or sys.platform != {platform!r}:
    sys.exit("fleet-agent.pyz is for Python {shown} on {platform}; build it there with `make agent`, or install fleetctl")
"""


def main() -> int:
    """Build to the path of the first argument."""
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        _copy(site)
        shown = target.with_suffix(".tmp")
        command = [*(sys.executable, "-m", "shiv"), "--site-packages", str(site), "--entry-point", "agent.app:main"]
        command += ["--reproducible", "--compressed", "--output-file", str(shown), "--python", "/usr/bin/env python3"]
        subprocess.run(command, check=True, env=os.environ | {"SOURCE_DATE_EPOCH": "1577836800"})
        _guard(shown)
        shown.replace(target)
    sys.stdout.write(f"{target}: {target.stat().st_size // 1024} KiB\n")
    return 0


def _copy(site: Path) -> None:
    """The libraries as they are installed here (checked by the lock file), and our own packages."""
    import shutil
    from importlib import metadata

    for name in _NEEDED:
        found = metadata.distribution(name)
        for file in found.files or []:
            source = Path(str(found.locate_file(file)))
            if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
                continue
            target = site / Path(str(file))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    skipped = shutil.ignore_patterns("__pycache__", "cli", "sources", "client.py")
    for package in ("agent", "fleetctl"):
        shutil.copytree(_ROOT / package, site / package, ignore=skipped)
    info = site / "fleetctl-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fleetctl\nVersion: {metadata.version('fleetctl')}\n")


def _guard(path: Path) -> None:
    """The first thing that runs says so when this Python is another one."""
    version = sys.version_info[:2]
    text = _GUARD.format(version=version, platform=sys.platform, shown=".".join(map(str, version)))
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
        date = archive.infolist()[0].date_time
    entries["__main__.py"] = text.encode() + entries["__main__.py"]
    head = path.read_bytes().split(b"\n", 1)[0] + b"\n"
    with path.open("wb") as out:
        out.write(head)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(entries.items()):
                archive.writestr(zipfile.ZipInfo(name, date), data, zipfile.ZIP_DEFLATED)
    path.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
