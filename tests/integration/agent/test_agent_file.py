"""fleet-agent.pyz: the agent in one file, run by a Python that has nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from examples.demo.parts import Process
from fleetctl.cli.commands.cluster.register import instructions
from tests.support.agent.agent_file import bare, build, variant
from tests.support.fleet import Fleet


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("pyz") / "fleet-agent.pyz")


def run(
    file: Path, folder: Path, *words: str, mode: int = 0o700
) -> subprocess.CompletedProcess[str]:
    """With a state directory of its own, and a cache that must stay unused then."""
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
    env = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder)}
    return subprocess.run(
        [bare(), "-I", str(file), *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def unpack(folder: Path) -> list[Path]:
    return sorted(folder.glob("agents/unpacked/*"))


def test_it_runs_with_a_bare_python(built: Path, tmp_path: Path) -> None:
    """Isolated, without site-packages of its own: version, help, and a one-line error."""
    done = run(built, tmp_path, "version")
    assert re.fullmatch(r"fleet-agent \S+\n", done.stdout), done
    wrong = run(built, tmp_path, "run", "--state-dir", str(tmp_path / "none"))
    assert (wrong.returncode, "is not enrolled" in wrong.stderr, "Traceback" in wrong.stderr) == (
        2,
        True,
        False,
    )
    assert not (tmp_path / "none").exists()


def test_it_can_be_built_again_byte_for_byte(built: Path, tmp_path: Path) -> None:
    """The same checkout gives the same file."""
    assert build(tmp_path / "again.pyz").read_bytes() == built.read_bytes()


def test_the_lines_that_a_person_pastes_bring_it_to_the_node(
    built: Path, tmp_path: Path, tool_env: dict[str, str]
) -> None:
    """Fetched from the manager, checked, enrolled and run, as `fleetctl cluster register` says it;
    with another digest nothing is.
    """
    fleet = Fleet(tmp_path / "fleet", tool_env, "--agent-file", str(built))
    try:
        made = fleet.call("POST", "clusters/fleet-default/paris/register", {"labels": {}})
        state = tmp_path / "var"
        places = {"/usr/local/bin/": f"{tmp_path}/", "/var/lib/fleet-agent": str(state)}
        env = {"PATH": f"{Path(bare()).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}

        def pasted(made: dict[str, str]) -> subprocess.CompletedProcess[str]:
            lines = instructions("paris", made)
            text = "\n".join(lines[: lines.index("TOKEN", lines.index(made["token"])) + 1])
            for old, new in places.items():
                text = text.replace(old, new)
            text = text.replace("--token-stdin", f"--token-stdin --target-dir {tmp_path}/out")
            return subprocess.run(
                ["sh", "-c", text],
                env=env,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )

        wrong = pasted(made | {"agentSha256": "0" * 64})
        assert (wrong.returncode != 0, state.exists(), "FAILED" in wrong.stdout + wrong.stderr) == (
            True,
            False,
            True,
        ), wrong
        done = pasted(made)
        assert "enrolled as cluster paris" in done.stdout, done
        argv = [bare(), f"{tmp_path}/fleet-agent.pyz", "run", "--state-dir", str(state)]
        agent = Process("agent paris", argv, env, fleet.folder / "agent.log")
        agent.start()
        try:
            seen = fleet.until(
                lambda: fleet.call("GET", "objects/clusters/fleet-default/paris"),
                lambda c: c["status"]["agent"]["runtime"],
            )
            assert seen["status"]["agent"]["runtime"].startswith("cpython-")
        finally:
            agent.stop()
        assert len(unpack(state)) == 1
    finally:
        fleet.stop()


def test_it_unpacks_once_into_the_state_directory(built: Path, tmp_path: Path) -> None:
    """Under the name of its digest; a second start makes nothing anew, and the user's cache is not
    touched.
    """
    for _ in range(2):
        assert (
            "is not enrolled" in run(built, tmp_path, "status", "--state-dir", str(tmp_path)).stderr
        )
        (folder,) = unpack(tmp_path)
        mark = folder / "mark"
        assert not mark.exists() or mark.read_text() == "first"
        mark.write_text("first")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("harm", ["cut", "gone", "changed", "half"])
def test_what_a_power_cut_left_is_made_again(built: Path, tmp_path: Path, harm: str) -> None:
    """An empty file, a missing one, other bytes, or a folder that was never finished."""
    words = ("status", "--state-dir", str(tmp_path))
    run(built, tmp_path, *words)
    (folder,) = unpack(tmp_path)
    victim = folder / "agent" / "state" / "journal.py"
    whole = victim.read_bytes()
    match harm:
        case "cut":
            victim.write_bytes(b"")
        case "gone":
            victim.unlink()
        case "changed":
            victim.write_bytes(b"import nothing_of_the_kind\n" + whole)
        case _:
            folder.rename(folder.with_name(f".new-{folder.name}-0000"))
    done = run(built, tmp_path, *words)
    assert "is not enrolled" in done.stderr, done
    assert victim.read_bytes() == whole


def test_compiled_code_that_a_power_cut_left_is_dropped(built: Path, tmp_path: Path) -> None:
    """Python's own caches carry no digest: a start that fails drops them, and the next one runs."""
    words = ("status", "--state-dir", str(tmp_path))
    run(built, tmp_path, *words)
    caches = list(unpack(tmp_path)[0].rglob("journal*.pyc")) + list(
        unpack(tmp_path)[0].rglob("app*.pyc")
    )
    assert caches
    for cache in caches:
        cache.write_bytes(cache.read_bytes()[:64])
    first, second = run(built, tmp_path, *words), run(built, tmp_path, *words)
    assert first.returncode != 0
    assert "is not enrolled" in second.stderr, second


def test_code_is_not_run_out_of_a_directory_that_others_may_write_to(
    built: Path, tmp_path: Path
) -> None:
    """It unpacks elsewhere."""
    state = tmp_path / "state"
    run(built, state, "status", "--state-dir", str(state), mode=0o777)
    assert not unpack(state)
    assert list((state / "cache").rglob("agent/app.py"))


def test_a_damaged_file_is_one_line(built: Path, tmp_path: Path) -> None:
    """No trace, and nothing of it is run."""
    broken = tmp_path / "broken.pyz"
    data = bytearray(built.read_bytes())
    middle = data.index(b"site/agent/app.py") + 2000
    data[middle : middle + 64] = b"\0" * 64
    broken.write_bytes(data)
    done = run(broken, tmp_path / "state", "version")
    assert (done.returncode, "cannot be unpacked" in done.stderr, "Traceback" in done.stderr) == (
        1,
        True,
        False,
    ), done


def test_another_python_gets_one_line(built: Path, tmp_path: Path) -> None:
    """As if it had been built for a newer one."""
    import zipfile

    other = variant(built, tmp_path / "other.pyz", "9")
    with zipfile.ZipFile(other) as archive:
        entries = {i.filename: archive.read(i) for i in archive.infolist()}
    entries["__main__.py"] = re.sub(rb"!= \(3, \d+\)", b"!= (3, 99)", entries["__main__.py"])
    with zipfile.ZipFile(other, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    done = run(other, tmp_path, "version")
    assert (done.returncode, len(done.stderr.splitlines()), "is for Python 3" in done.stderr) == (
        1,
        1,
        True,
    ), done
