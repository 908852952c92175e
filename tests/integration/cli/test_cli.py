"""The CLI as a person uses it: every command against a real manager, with its exit status and its
one-line errors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo.parts import DemoManager, environment, program
from tests.servers.gitserver import GitServer
from tests.support.gitrepo import Clone

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"


class Terminal:
    """`run("status")` with a configuration of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.env = environment({"FLEETCTL_CONFIG": str(folder / "config.yaml")})

    def run(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """stdout and stderr; fails when the exit status is another one, or a trace is shown."""
        done = subprocess.run(
            program("fleetctl", *words),
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoManager]:
    running = DemoManager(tmp_path_factory.mktemp("cli"), {}, "--poll-seconds", "1")
    running.start()
    try:
        yield running
    finally:
        running.process.stop()


@pytest.fixture
def terminal(tmp_path: Path, manager: DemoManager) -> Terminal:
    made = Terminal(tmp_path / "home")
    token = str(manager.data_dir / "admin.token")
    assert "as admin" in made.run(
        "login", manager.url, "--ca-pin", manager.ca_pin, "--token-file", token
    )
    return made


class TestWithoutAManager:
    def test_help_says_every_command(self, tmp_path: Path) -> None:
        """The quick top-level help is the real tree of commands, and each has a help of its own."""
        from fleetctl.cli.command_table import COMMANDS
        from fleetctl.cli.loader import command

        terminal = Terminal(tmp_path)
        top = terminal.run("--help")
        for name, *_ in COMMANDS:
            assert command(name) is not None
            assert f"  {name} " in top
            assert "Usage: fleetctl" in terminal.run(name, "--help")

    def test_diff_names_the_side_that_cannot_be_read(self, tmp_path: Path) -> None:
        for side in ("left", "right"):
            (tmp_path / side).mkdir()
            (tmp_path / side / "fleet.yaml").write_text("defaultNamespace: [1]\n")
        says = Terminal(tmp_path).run(
            "diff", str(tmp_path / "left"), str(tmp_path / "right"), "--cluster", "c", code=2
        )
        for side in ("left", "right"):
            assert f"error: {tmp_path / side}: fleet.yaml:1:" in says

    @pytest.mark.parametrize(
        ("words", "usage"),
        [
            (("apply",), "fleetctl apply [OPTIONS]"),
            (("why",), "fleetctl why [OPTIONS] CLUSTER|BUNDLE..."),
            (("cluster", "label"), "fleetctl cluster label [OPTIONS] [NAME…] K=V…"),
            (("get",), "fleetctl get [OPTIONS] KIND [NAME]..."),
            (("wait",), "fleetctl wait [OPTIONS] [KIND[/NAME]]..."),
        ],
    )
    def test_the_usage_lists_each_argument_in_plain_form(
        self, tmp_path: Path, words: tuple[str, ...], usage: str
    ) -> None:
        assert Terminal(tmp_path).run(*words, "--help").splitlines()[0] == f"Usage: {usage}"

    @pytest.mark.parametrize(
        ("words", "code", "says"),
        [
            ((), 2, "Usage"),
            (("statsu",), 2, "Did you mean status"),
            (("gitrepo", "add"), 2, "missing argument"),
            (("cluster", "list", "--wide"), 2, "there is no option --wide"),
            (("status",), 4, "not logged in"),
            (("get", "gitrepso"), 2, "Did you mean gitrepo"),
            (("login", "http://x", "--token-stdin"), 2, "Write it as https"),
            (("context", "use", "nowhere"), 1, "no context nowhere"),
        ],
    )
    def test_mistakes_get_one_line_and_a_next_step(
        self, tmp_path: Path, words: tuple[str, ...], code: int, says: str
    ) -> None:
        """With the exit status of their kind."""
        assert says in Terminal(tmp_path).run(*words, code=code)

    def test_a_dead_manager_is_exit_status_five(self, tmp_path: Path) -> None:
        """And says so."""
        config = tmp_path / "config.yaml"
        config.write_text(
            "current: a\ncontexts:\n- {name: a, url: 'https://127.0.0.1:9', token: t}\n"
        )
        assert "cannot be reached" in Terminal(tmp_path).run("status", code=5)

    def test_completion_is_a_script(self, tmp_path: Path) -> None:
        """For each shell."""
        for shell in ("bash", "zsh", "fish"):
            assert "fleetctl" in Terminal(tmp_path).run("completion", shell)


class TestLogin:
    def test_another_ca_is_refused(self, tmp_path: Path, manager: DemoManager) -> None:
        """A wrong pin, and a wrong token."""
        token = str(manager.data_dir / "admin.token")
        terminal = Terminal(tmp_path)
        assert "not the one that the CA pin names" in terminal.run(
            "login", manager.url, "--ca-pin", "0" * 64, "--token-file", token, code=4
        )
        said = terminal.run(
            "login",
            manager.url,
            "--ca-pin",
            manager.ca_pin,
            "--token-stdin",
            stdin="nonsense\n",
            code=4,
        )
        assert "token" in said

    def test_tokens_have_roles(
        self, terminal: Terminal, manager: DemoManager, tmp_path: Path
    ) -> None:
        """A reader reads; a revoked token is worthless."""
        value = terminal.run("token", "create", "ci", "--role", "read").splitlines()[0]
        reader = Terminal(tmp_path / "reader")
        reader.run(
            "login", manager.url, "--ca-pin", manager.ca_pin, "--token-stdin", stdin=value + "\n"
        )
        reader.run("status")
        assert "may read only" in reader.run("cluster", "register", "x", code=3)
        terminal.run("token", "revoke", "ci", "--yes")
        assert "ci" not in terminal.run("token", "list")
        reader.run("status", code=4)


class TestObjects:
    def test_a_repository_from_add_to_delete(self, terminal: Terminal, tmp_path: Path) -> None:
        """Added, waited for, shown in every form, and removed after a question."""
        (tmp_path / "git").mkdir()
        with GitServer(tmp_path / "git") as server:
            clone = Clone(server, "apps", tmp_path / "clone")
            commit = clone.push({"m.yaml": MAP})
            assert "gitrepo/shop created" in terminal.run(
                "gitrepo", "add", "shop", clone.url, "-l", "env=none"
            )
            terminal.run("wait", "gitrepo/shop", "--commit", commit[:12], "--timeout", "30")
            assert commit[:7] in terminal.run("gitrepo", "list")
            assert (
                json.loads(terminal.run("gitrepo", "get", "shop", "-o", "json"))["status"]["commit"]
                == commit
            )
            assert "kind: GitRepo" in terminal.run("get", "gr/shop", "-o", "yaml")
            assert terminal.run("get", "gr", "-o", "name") == "gitrepo/shop\n"
            assert "shop" in terminal.run("bundle", "list")
            terminal.run("gitrepo", "sync", "shop")
            assert "Add --yes" in terminal.run("gitrepo", "delete", "shop", code=3)
            assert "deleted" in terminal.run("gitrepo", "delete", "shop", "--yes")
            assert "does not exist" in terminal.run("gitrepo", "get", "shop", code=1)

    def test_what_is_wrong_with_a_repository_is_shown(self, terminal: Terminal) -> None:
        """The error and its next step; waiting for it ends with exit status 6."""
        terminal.run("gitrepo", "add", "gone", "http://127.0.0.1:9/none.git")
        assert "does not take connections" in terminal.run(
            "wait", "gitrepo/gone", "--timeout", "3", code=6
        )
        assert "correct the address" in terminal.run("gitrepo", "get", "gone")
        assert "Stalled" in terminal.run("status")
        terminal.run("gitrepo", "delete", "gone", "--yes")

    def test_registering_prints_what_to_paste(self, terminal: Terminal) -> None:
        """Fetch, enrol with the token on standard input, and run; the name is then waited for."""
        said = terminal.run("cluster", "register", "paris", "-l", "env=prod")
        assert "--token-stdin" in said
        assert "systemd-run" in said
        assert "WaitCheckIn" in terminal.run("cluster", "list")
        terminal.run("cluster", "label", "paris", "env-", "region=eu")
        assert "region=eu" in terminal.run("get", "cl", "paris", "--no-headers")
        assert "paris" in terminal.run("cluster", "list", "-l", "region in (eu,us)")
        terminal.run("cluster", "delete", "paris", "--yes")

    def test_apply_checks_all_before_it_writes_one(
        self, terminal: Terminal, tmp_path: Path
    ) -> None:
        """A broken second document leaves the first unwritten; the file is named."""
        head = "apiVersion: fleet.cattle.io/v1alpha1\nkind: ClusterGroup\n"
        group = head + "metadata: {name: prod}\nspec: {selector: {matchLabels: {env: prod}}}\n"
        path = tmp_path / "objects.yaml"
        path.write_text(
            group + "---\n" + group.replace("selector", "selectro").replace("prod}", "test}", 1)
        )
        assert "selectro" in terminal.run("apply", "-f", str(path), code=2)
        assert "No cluster groups" in terminal.run("clustergroup", "list")
        path.write_text(group)
        assert "created (dry run)" in terminal.run("apply", "-f", str(path), "--dry-run")
        assert "created" in terminal.run("apply", "-f", str(path))
        assert "unchanged" in terminal.run("apply", "-f", "-", stdin=group)
        terminal.run("delete", "cg/prod", "--yes")

    def test_secrets_are_never_given_back(self, terminal: Terminal) -> None:
        """Neither by get nor by apply."""
        secret = (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password:"
            " open-sesame}\n"
        )
        terminal.run("apply", "-f", "-", stdin=secret)
        assert "sesame" not in terminal.run("get", "secret", "s", "-o", "yaml")
        terminal.run("delete", "secret", "s", "--yes")

    def test_versions(self, terminal: Terminal) -> None:
        """Of both."""
        assert "manager" in terminal.run("version")


def test_exit_codes_are_documented() -> None:
    """docs/exit-codes.md names every error with its status."""
    from fleetctl.core.model.errors import every_error

    text = (Path(__file__).parents[3] / "docs" / "exit-codes.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    for kind in every_error():
        assert f"`{kind.__name__}`" in rows[str(kind.exit_status)], kind


def test_the_top_level_help_needs_no_library() -> None:
    """Typer, rich and httpx are not even imported."""
    heavy = "{'typer', 'rich', 'httpx', 'msgspec'}"
    code = (
        f"import sys; from fleetctl.cli.app import main; main(['--help']); print(sorted({heavy} &"
        " set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment({}),
    )
    assert done.stdout.splitlines()[-1] == "[]"
