"""Charts made on the spot and packaged by the real helm."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from pathlib import Path

import yaml

from fleetctl.core.model.bundle import File
from tests.localkube.toolchain import tools


def write(folder: Path, name: str, version: str, **more: object) -> Path:
    """A chart of one ConfigMap that says its own version, as a folder."""
    chart = folder / f"{name}-{version}" / name
    (chart / "templates").mkdir(parents=True)
    said = {
        "apiVersion": "v2",
        "name": name,
        "version": version,
        "description": f"{name} {version}",
        **more,
    }
    (chart / "Chart.yaml").write_text(yaml.safe_dump(said))
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: NAME-{{ .Release.Name }}\ndata:\n "
        " version: {{ .Chart.Version | quote }}\n"
    )
    (chart / "templates" / "one.yaml").write_text(text.replace("NAME", name))
    return chart


def package(folder: Path, out: Path) -> Path:
    """`helm package`; the tarball."""
    said = helm("package", folder, "--destination", out)
    return Path(said.rpartition(": ")[2].strip())


def helm(*words: str | Path) -> str:
    done = run_helm(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_helm(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """With nobody's configuration, repositories or caches."""
    with tempfile.TemporaryDirectory() as home:
        argv = [*tools.find("helm").argv, *map(str, words)]
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": home, "PATH": "/usr/bin:/bin"},
            timeout=60,
        )


def tarball(chart: Path, place: Path) -> Path:
    """What `helm package` would refuse to make of a chart whose dependencies are missing."""
    with tarfile.open(place, "w:gz") as tar:
        tar.add(chart, arcname=chart.name)
    return place


def files(folder: Path, below: str = "") -> dict[str, File]:
    """The files of a folder as a chart's."""
    return {
        below + p.relative_to(folder).as_posix(): File(p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file()
    }
