"""A command that waits while the manager itself goes away and comes back: real processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from examples.demo.parts import DemoManager, environment, program


def test_a_wait_survives_kill_9_of_the_manager(tmp_path: Path):
    """It says so once, goes on, and ends when what it waits for is there."""
    manager = DemoManager(tmp_path / "manager", {}, "--poll-seconds", "1")
    manager.start()
    env = environment({"FLEETCTL_CONFIG": str(tmp_path / "config.yaml")})

    def run(*words: str) -> None:
        subprocess.run(
            program("fleetctl", *words), env=env, check=True, capture_output=True, timeout=60
        )

    run(
        "login",
        manager.url,
        "--ca-pin",
        manager.ca_pin,
        "--token-file",
        str(manager.data_dir / "admin.token"),
    )
    run("cluster", "register", "late", "--token-only")
    words = program("fleetctl", "wait", "cluster/late", "--for", "deleted", "--timeout", "60")
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        try:
            assert "Cluster late exists" in waiting.stderr.readline()
            manager.process.kill()
            assert "the manager cannot be reached" in waiting.stderr.readline()
            manager.start()
            run("cluster", "delete", "late", "--yes")
            assert waiting.wait(60) == 0
        finally:
            waiting.kill()
            manager.process.stop()


def test_a_wait_ends_at_its_deadline_without_a_manager(tmp_path: Path):
    """Exit status 6 a few seconds after the deadline at most, with what is known."""
    manager = DemoManager(tmp_path / "manager", {})
    manager.start()
    env = environment({"FLEETCTL_CONFIG": str(tmp_path / "config.yaml")})
    login = program(
        "fleetctl",
        "login",
        manager.url,
        "--ca-pin",
        manager.ca_pin,
        "--token-file",
        str(manager.data_dir / "admin.token"),
    )
    subprocess.run(login, env=env, check=True, capture_output=True, timeout=60)
    register = program("fleetctl", "cluster", "register", "late", "--token-only")
    subprocess.run(register, env=env, check=True, capture_output=True, timeout=60)
    words = program("fleetctl", "wait", "cluster/late", "--timeout", "4")
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        try:
            waiting.stderr.readline()
            manager.process.kill()
            assert waiting.wait(20) == 6
            assert "not ready within 4s" in waiting.stderr.read()
        finally:
            waiting.kill()
            manager.process.stop()
