"""What `pip install` gives: names that cannot clash, and every library that the programs import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Distribution -> the module that it is imported by, where the two differ.
MODULES = {"google-re2": "re2", "pyyaml": "yaml", "ruamel.yaml": "ruamel"}
OWN = {"fleetctl", "agent", "manager"}


def modules_of(requirements: list[str]) -> set[str]:
    names = [re.split(r"[<>=\[ ;]", line)[0].lower() for line in requirements]
    return {MODULES.get(name, name) for name in names}


def imports_of(folder: str) -> Iterator[tuple[str, str]]:
    """(file, top-level module) of every absolute import."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((str(path), alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield str(path), str(node.module).partition(".")[0]


@pytest.mark.parametrize(
    ("folder", "extra"), [("fleetctl", ""), ("agent", ""), ("manager", "manager")]
)
def test_every_imported_library_is_a_dependency(folder: str, extra: str) -> None:
    stated = modules_of(
        PROJECT["dependencies"] + (PROJECT["optional-dependencies"][extra] if extra else [])
    )
    known = stated | OWN | set(sys.stdlib_module_names)
    # What a stated library brings and is documented to be imported by its users.
    known |= {"click", "httpcore", "h11", "hatchling"}
    assert [(file, name) for file, name in imports_of(folder) if name not in known] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    return next(folder.glob("*.whl"))


def test_the_wheel_has_no_general_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {
        "fleetctl",
        "fleetctl_agent",
        "fleetctl_manager",
    }


@pytest.mark.parametrize(
    ("module", "words", "text"),
    [
        ("fleetctl.cli.app", ["--version"], "fleetctl "),
        ("fleetctl_agent.app", ["--version"], "fleet-agent "),
        ("fleetctl_manager.start", ["--version"], "fleet-manager "),
        ("fleetctl_manager.app", ["--version"], "fleet-manager "),
        ("fleetctl_manager.app", ["--help"], "usage: fleet-manager [-h] [--version]"),
        ("fleetctl_manager.app", ["serve", "--help"], "usage: fleet-manager serve"),
    ],
)
def test_the_programs_start_from_the_wheel(
    wheel: Path, module: str, words: list[str], text: str
) -> None:
    """Under their installed names alone: the checkout is not on the path."""
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); from {module} import main; "
        f"assert {str(wheel)!r} in main.__code__.co_filename; sys.exit(main({words!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(text)


def test_a_manager_without_its_libraries_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from manager import start

    monkeypatch.setattr(start, "find_spec", lambda name: None if name == "uvicorn" else object())
    assert start.main(["serve"]) == 1
    error = capsys.readouterr().err
    assert "run `pip install '.[manager]'` in a clone" in error
    assert "`pipx install --force '.[manager]'`" in error
