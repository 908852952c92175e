"""Git addresses that a token of one workspace has set do not reach what only the manager
reaches.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.documents.gitrepo import RESTRICTED
from fleetctl.core.model.errors import FleetError, NotFound, RefusedError, SourceError
from fleetctl.sources.egress import EgressPolicy
from fleetctl.sources.git import repository
from manager.api.routes.egress import mark_plan, mark_restricted
from manager.security.tokens import Person
from tests.servers.gitserver import GitServer
from tests.support.gitrepo import Clone

KEY = ("GitRepo", "team", "app")
POLICY = EgressPolicy()


def fetch(url: str, tmp_path: Path, egress: EgressPolicy, **more: Any) -> str:
    limits = repository.GitLimits(seconds=10, egress=egress)
    return asyncio.run(repository.fetch(url, store=tmp_path / "store", limits=limits, **more))


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with GitServer(tmp_path / "git") as running:
        yield running


class TestPolicy:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0.0.0.0", "169.254.169.254"]
    )
    def test_the_machine_itself_is_refused_whether_something_answers_or_not(
        self, tmp_path: Path, server: GitServer, host: str
    ) -> None:
        messages = set()
        for port in (server.port, closed_port()):
            with pytest.raises(
                RefusedError, match="Git repositories of a workspace may not be read"
            ) as caught:
                fetch(f"http://{host}:{port}/x", tmp_path, POLICY)
            messages.add(caught.value.summary)
        assert len(messages) == 1

    def test_an_internal_host_that_is_allowed_tells_nothing_but_git(
        self, tmp_path: Path, server: GitServer
    ) -> None:
        """A closed port, a server of something else, and a repository that is missing read
        alike.
        """
        allowed = EgressPolicy(allow=("127.0.0.0/8",))
        texts = set()
        for port in (server.port, closed_port()):
            with pytest.raises(SourceError) as caught:
                fetch(f"http://127.0.0.1:{port}/none", tmp_path, allowed)
            texts.add((caught.value.summary.replace(str(port), "PORT"), caught.value.next_step))
        assert len(texts) == 1

    def test_a_repository_that_is_allowed_or_mirrored_is_read(
        self, tmp_path: Path, server: GitServer
    ) -> None:
        clone = Clone(server, "app", tmp_path / "clone")
        commit = clone.push({"a": "1"})
        port = server.port
        assert fetch(clone.url, tmp_path, EgressPolicy(allow=("127.0.0.0/8",))) == commit
        assert (
            fetch(
                clone.url.replace("127.0.0.1", "localhost"),
                tmp_path,
                EgressPolicy(allow=("localhost",)),
            )
            == commit
        )
        mirrors = {"https://git.example.com": f"http://127.0.0.1:{port}"}
        path = clone.url.partition(f":{port}")[2]
        assert fetch(f"https://git.example.com{path}", tmp_path, POLICY, mirrors=mirrors) == commit
        with pytest.raises(NotFound, match="has no branch gone"):
            fetch(
                clone.url,
                tmp_path,
                EgressPolicy(allow=("127.0.0.0/8",)),
                ref=repository.Ref("gone"),
            )


class TestMark:
    def document(self, repo: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
        return {
            "kind": "GitRepo",
            "metadata": {"name": "app", "annotations": annotations},
            "spec": {"repo": repo},
        }

    def mark(self, workspace: str, new: dict[str, Any], old: dict[str, Any] | None) -> str | None:
        async def read(*key: str) -> dict[str, Any]:
            if old is None:
                raise NotFound("no GitRepo app")
            return old

        person = Person("ada", "admin", workspace, "")
        document = asyncio.run(mark_restricted(person, KEY, new, read))
        found = (document["metadata"].get("annotations") or {}).get(RESTRICTED)
        return str(found) if found else None

    def test_who_set_the_address_last_decides(self) -> None:
        x, y = self.document("https://x"), self.document("https://y")
        marked_x = self.document("https://x", {RESTRICTED: "team"})
        assert self.mark("team", x, None) == "team"
        assert self.mark("team", y, x) == "team"
        assert self.mark("team", x, x) is None  # a pause of what the manager's administrator set
        assert self.mark("team", x, marked_x) == "team"  # left out, or taken away
        assert self.mark("", marked_x, marked_x) is None
        assert self.mark("", x, None) is None

    def test_a_plan_of_a_workspace_is_always_restricted(self) -> None:
        person = Person("ada", "admin", "team", "")
        assert mark_plan(person, self.document("https://x"))["metadata"]["annotations"] == {
            RESTRICTED: "team"
        }

    @pytest.mark.parametrize(
        "document", [{}, {"metadata": 1}, {"metadata": {"annotations": 1}, "spec": {}}]
    )
    def test_a_malformed_document_is_left_to_the_check(self, document: dict[str, Any]) -> None:
        person = Person("ada", "admin", "team", "")

        async def read(*key: str) -> dict[str, Any]:
            raise NotFound("no GitRepo app")

        try:
            asyncio.run(mark_restricted(person, KEY, document, read))
        except FleetError:
            pytest.fail("refused too early")
