"""Login, contexts, tokens, the page, versions, waiting, and a manager that is not there."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from fleetctl.core.model.errors import UnavailableError
from tests.support.cli.person import Person, Shop
from tests.support.cli.process import login_in, on_terminal


class TestLogin:
    def test_the_token_comes_from_a_file_or_standard_input(self, shop: Shop, tmp_path: Path):
        """The configuration is private, and holds the pinned CA."""
        person = Person(tmp_path)
        token = shop.token_file.read_text()
        said = person.good(
            "login",
            shop.url + "/",
            "--ca-pin",
            shop.ca_pin.upper(),
            "--token-stdin",
            "--name",
            "a",
            stdin=token,
        )
        assert "as admin (admin), context a" in said
        assert person.config.stat().st_mode & 0o777 == 0o600
        assert "BEGIN CERTIFICATE" in person.config.read_text()
        assert token.strip() not in said
        assert list(person.config.parent.iterdir()) == [person.config]

    @pytest.mark.parametrize(
        ("words", "stdin", "status", "says"),
        [
            (
                ("--ca-pin", "0" * 64, "--token-stdin"),
                "t\n",
                4,
                "not the one that the CA pin names",
            ),
            (("--ca-pin", "xyz", "--token-stdin"), "t\n", 2, "64 hex digits"),
            (("--token-stdin",), "t\n", 5, "Give the --ca-pin"),
            (("--ca-pin", "PIN", "--token-stdin"), "wrong\n", 4, "token"),
            (("--ca-pin", "PIN", "--token-stdin"), "\n", 2, "is empty"),
            (("--ca-pin", "PIN", "--token-stdin"), "h\u00e9\n", 2, "not a token"),
            (("--ca-pin", "PIN"), "", 2, "--token-file"),
            (("--ca-pin", "PIN", "--token-file", "/nonexistent"), "", 2, "No such file"),
        ],
    )
    def test_what_is_refused(
        self, shop: Shop, tmp_path: Path, words: tuple[str, ...], stdin: str, status: int, says: str
    ):
        """Nothing is written then."""
        person = Person(tmp_path)
        done = person.run(
            "login", shop.url, *(shop.ca_pin if w == "PIN" else w for w in words), stdin=stdin
        )
        assert done.status == status
        assert says in done.err
        assert not person.config.exists()

    @pytest.mark.parametrize(
        "url",
        [
            "http://h",
            "h:1",
            "https://",
            "https://u:p@h",
            "https://h/x",
            "https://h:x",
            "https://h?q",
        ],
    )
    def test_an_address_is_https_and_nothing_more(self, tmp_path: Path, url: str):
        """Exit status 2 before anything is sent."""
        done = Person(tmp_path).run("login", url, "--token-stdin", stdin="t\n")
        assert done.status == 2
        assert "https://HOST:PORT" in done.err

    def test_a_person_types_the_token_unseen(self, shop: Shop, tmp_path: Path):
        """On a terminal --token-stdin asks without an echo."""
        env = login_in(tmp_path, shop)
        token = shop.token_file.read_text().strip()
        status, screen = on_terminal(
            env, "login", shop.url, "--ca-pin", shop.ca_pin, "--token-stdin", typed=f"{token}\n"
        )
        assert status == 0, screen
        assert token not in screen


class TestContexts:
    def test_from_login_to_delete(self, person: Person, shop: Shop):
        """Two logins to one manager; the token is never shown."""
        person.good(
            "login",
            shop.url,
            "--ca-pin",
            shop.ca_pin,
            "--token-file",
            str(shop.token_file),
            "--name",
            "b",
            "-n",
            "team-a",
        )
        token = shop.token_file.read_text().strip()
        assert person.good("context", "list", "-o", "name") == "127.0.0.1\nb\n"
        assert "team-a" in person.good("context", "show")
        assert (
            json.loads(person.good("context", "show", "127.0.0.1", "-o", "json"))["current"]
            is False
        )
        assert "workspace team-b" in person.good("context", "use", "127.0.0.1", "-n", "team-b")
        assert token not in person.good("context", "list") + person.good(
            "context", "show", "-o", "yaml"
        )
        assert person.good("status", "--context", "b").count("team-a") == 1
        assert person.run("context", "use", "nope").status == 1
        assert person.run("context", "delete", "b").status == 3
        person.good("context", "delete", "b", "--yes")
        assert person.run("context", "delete", "b", "--yes").status == 1

    def test_without_a_context_it_says_how_to_get_one(self, tmp_path: Path):
        """Exit status 4."""
        done = Person(tmp_path).run("status")
        assert done.status == 4
        assert "fleetctl login" in done.err

    def test_a_file_that_others_may_write_is_not_believed(self, person: Person):
        """They could send the token to a manager of their own."""
        person.config.chmod(0o666)
        done = person.run("status")
        assert done.status == 2
        assert "chmod 600" in done.err

    @pytest.mark.parametrize(
        "text", ["a: [", "contexts: [{url: x}]", "contexts: [{name: x, url: y, colour: z}]", "[]"]
    )
    def test_a_broken_file_is_one_line(self, person: Person, text: str):
        """Exit status 2 and the file's name."""
        person.config.write_text(text)
        done = person.run("status")
        assert done.status == 2
        assert str(person.config) in done.err


class TestTokens:
    def test_from_create_to_revoke(self, person: Person, shop: Shop, tmp_path: Path):
        """The value is alone on stdout, and worthless after the revocation."""
        token = person.good("token", "create", "ci", "--role", "read", "--ttl", "12h")
        reader = Person(tmp_path / "reader")
        reader.good("login", shop.url, "--ca-pin", shop.ca_pin, "--token-stdin", stdin=token)
        assert reader.run("cluster", "register", "x").status == 3
        assert "ci" in person.good("token", "list")
        assert person.run("token", "revoke", "ci").status == 3
        person.good("token", "revoke", "ci", "--yes")
        assert reader.run("status").status == 4
        assert person.run("token", "revoke", "ci", "--yes").status == 1

    def test_wrong_roles_and_times(self, person: Person):
        """Exit status 2."""
        assert person.run("token", "create", "x", "--role", "king").status == 2
        assert person.run("token", "create", "x", "--ttl", "a while").status == 2


class TestWait:
    def test_it_ends_when_all_are_ready(self, person: Person, shop: Shop):
        """And says how many."""
        shop.service.give("Bundle", "web", status={"display": {"state": "Ready"}})
        done = person.run("wait", "bundle/web")
        assert (done.status, done.out) == (0, "")
        assert "ready" in done.err

    def test_at_the_deadline_it_says_what_is_missing(self, person: Person, shop: Shop):
        """Exit status 6, and everything that is not as wanted."""
        shop.service.give(
            "Bundle", "web", status={"display": {"state": "ErrApplied", "message": "no such image"}}
        )
        shop.service.give("Cluster", "paris", status={"display": {"state": "Ready"}})
        done = person.run("wait", "--timeout", "0")
        assert done.status == 6
        assert "Bundle web is ErrApplied: no such image" in done.err
        assert "paris" not in done.err

    @pytest.mark.parametrize(
        ("words", "status"),
        [
            (("bundle/web", "--for", "condition=Ready"), 0),
            (("bundle/web", "--for", "condition=ready=true"), 0),
            (("bundle/web", "--for", "condition=Stalled"), 6),
            (("bundle", "web", "--for", "state=Modified"), 0),
            (("bundle/web", "--for", "modified"), 0),
            (("b", "--commit", "abc", "--for", "Modified"), 0),
            (("b", "--commit", "def", "--for", "Modified"), 6),
            (("bundle/web", "--for", "deleted"), 6),
            (("bundle/nope", "--for", "deleted"), 0),
            (("bundle/nope",), 1),
            (("cluster",), 6),
            (("bundle,cluster", "web"), 2),
            (("cluster", "--commit", "abc"), 2),
            (("cluster", "--timeout", "soon"), 2),
            (("cluter",), 2),
        ],
    )
    def test_goals(self, person: Person, shop: Shop, words: tuple[str, ...], status: int):
        """A state, a condition, a commit, or that it is gone."""
        conditions = [{"type": "Ready", "status": "True"}]
        shop.service.give(
            "Bundle",
            "web",
            status={"display": {"state": "Modified"}, "conditions": conditions, "commit": "abcdef"},
        )
        more = () if "--timeout" in words else ("--timeout", "0")
        assert person.run("wait", *words, *more).status == status


class TestNoManager:
    def test_nothing_listens(self, person: Person, shop: Shop):
        """Exit status 5 and what to do."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            text = person.config.read_text().replace(
                str(shop.config.port), str(probe.getsockname()[1])
            )
        person.config.write_text(text)
        done = person.run("status")
        assert done.status == 5
        assert "no program listens on this address" in done.err

    def test_another_certificate(
        self, person: Person, shop: Shop, tmp_path_factory: pytest.TempPathFactory
    ):
        """A manager that took the place of the one that was pinned gets no token."""
        other = Shop(tmp_path_factory.mktemp("other"))
        try:
            person.config.write_text(
                person.config.read_text().replace(str(shop.config.port), str(other.config.port))
            )
            done = person.run("status")
        finally:
            other.stop()
        assert done.status == 5
        assert "certificate" in done.err

    def test_silence_has_an_end(self):
        """Somebody who accepts and says nothing is left in time."""
        from fleetctl.client import Client

        with socket.socket() as listener, Client("https://127.0.0.1:1", "t") as client:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            client.close()
            port = listener.getsockname()[1]
            with (
                Client(f"https://127.0.0.1:{port}", "t") as silent,
                pytest.raises(UnavailableError, match="no answer in time"),
            ):
                silent.call("GET", "status", seconds=0.3)

    def test_a_mistake_of_the_manager_is_not_ours(self, person: Person, shop: Shop):
        """Its exit status is kept, and no trace is shown."""
        shop.service.broken = RuntimeError("secret detail")
        done = person.run("gitrepo", "list")
        assert done.status == 70
        assert "secret detail" not in done.err


def test_ui_and_version(person: Person, shop: Shop):
    """The page's address has a code for one login; versions of both sides."""
    assert person.good("ui", "--print").startswith(f"{shop.url}/login#")
    assert json.loads(person.good("version", "-o", "json"))["manager"]["caPin"] == shop.ca_pin
    assert person.good("version", "--client").startswith("fleetctl")


def test_a_table_fits_80_columns(shop: Shop, tmp_path: Path):
    """On a terminal messages are cut, names never are; colours only there, and not with
    NO_COLOR.
    """
    env = login_in(tmp_path, shop)
    name, message = "a-bundle-with-quite-a-long-name", "something went wrong " * 10
    shop.service.give(
        "Bundle",
        name,
        status={"display": {"state": "ErrApplied", "readyClusters": "10/100", "message": message}},
    )
    _, screen = on_terminal({**env, "NO_COLOR": "1"}, "bundle", "list")
    assert name in screen
    assert "…" in screen
    assert max(len(line) for line in screen.splitlines()) <= 80
    assert "\x1b" not in screen
    assert "\x1b[31mErrApplied" in on_terminal(env, "bundle", "list")[1]
    assert message.strip() in on_terminal(env, "bundle", "list", "-o", "wide")[1]
