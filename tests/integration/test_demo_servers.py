"""The demo's Git and chart servers as programs, with the real git and helm as their clients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from manager.security.tls import ensure_identity
from tests.support.charts import helm, package, write

ROOT = Path(__file__).parents[2]


@contextmanager
def program(module: str, *words: str | Path) -> Iterator[str]:
    """Started as a person would; its first line is its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def git(folder: Path, *words: str, ca: Path) -> subprocess.CompletedProcess[str]:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_SSL_CAINFO": str(ca),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    return subprocess.run(
        ["git", *who, "-C", folder, *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_git_clones_and_pushes_over_tls_with_a_password(tmp_path: Path) -> None:
    """A large push comes in chunks and compressed; a wrong password is refused."""
    identity = ensure_identity(tmp_path, ["127.0.0.1"], now=datetime.now(UTC))
    login = tmp_path / "login"
    login.write_text("ada:open-sesame\n")
    tls = ("--tls-cert", identity.cert_file, "--tls-key", identity.key_file)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(identity.ca_pem)
    with program(
        "tests.servers.gitserver", tmp_path / "srv", "--create", "apps", "--auth-file", login, *tls
    ) as base:
        url = base.replace("https://", "https://ada:open-sesame@") + "apps.git"
        first = tmp_path / "first"
        first.mkdir()
        git(first, "init", "--quiet", "--initial-branch=main", ca=ca)
        (first / "big").write_bytes(os.urandom(3 * 1024 * 1024))
        git(first, "add", "--all", ca=ca)
        git(first, "commit", "--quiet", "-m", "one", ca=ca)
        pushed = git(first, "push", url, "HEAD:main", ca=ca)
        assert pushed.returncode == 0, pushed.stderr
        assert git(tmp_path, "clone", "--quiet", url, "second", ca=ca).returncode == 0
        assert (tmp_path / "second" / "big").read_bytes() == (first / "big").read_bytes()
        wrong = git(tmp_path, "ls-remote", url.replace("sesame", "barley"), ca=ca)
        assert "Authentication failed" in wrong.stderr


def test_helm_reads_the_chart_server(tmp_path: Path) -> None:
    """As a repository, and as a registry."""
    package(write(tmp_path, "web", "1.2.3"), tmp_path)
    with program("tests.servers.chartserver", tmp_path) as url:
        assert "version: 1.2.3" in helm("show", "chart", "web", "--repo", url)
        assert "version: 1.2.3" in helm(
            "show", "chart", url.replace("http", "oci", 1) + "/team/web", "--plain-http"
        )
