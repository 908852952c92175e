"""Fetching from a real `git http-backend`, over HTTP and TLS, with and without a password."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import (
    DeadlineError,
    FleetError,
    InvalidFile,
    LoginError,
    NotFound,
    SourceError,
    UsageError,
)
from fleetctl.core.model.ids import CommitId
from fleetctl.sources.git import repository
from manager.security.tls import TlsIdentity, ensure_identity
from tests.servers.gitserver import GitServer
from tests.support.gitrepo import Clone

HEAD = repository.Ref()
NO_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def identity(tmp_path: Path) -> TlsIdentity:
    return ensure_identity(tmp_path, ["127.0.0.1"], now=datetime.now(UTC))


def fetch(url: str, tmp_path: Path, ref: repository.Ref = HEAD, **more: object) -> CommitId:
    return asyncio.run(repository.fetch(url, store=tmp_path / "store", ref=ref, **more))


def files(tmp_path: Path, commit: CommitId) -> dict[str, File]:
    tree = repository.open_tree(tmp_path / "store", commit)
    try:
        return {path: tree.read(path) for path in tree.paths()}
    finally:
        tree.close()


def packs(tmp_path: Path) -> list[int]:
    return sorted(
        p.stat().st_size for p in (tmp_path / "store" / "objects" / "pack").glob("*.pack")
    )


class TestFetching:
    def test_the_tree_of_the_newest_commit_is_read_byte_for_byte(
        self, tmp_path: Path, clone: Clone
    ) -> None:
        """Paths are sorted by bytes, modes are kept, links and submodules are named as left out."""
        (tmp_path / "clone").mkdir(exist_ok=True)
        (tmp_path / "clone" / "link").symlink_to("/etc/passwd")
        (tmp_path / "clone" / "run.sh").write_text("#!/bin/sh\n")
        (tmp_path / "clone" / "run.sh").chmod(0o755)
        (tmp_path / "clone" / "sub").mkdir()  # else `git add` would drop the entry
        clone.git("update-index", "--add", "--cacheinfo", f"160000,{NO_COMMIT},sub")
        commit = clone.push({"a/b.yaml": b"x: \xff\r\n", "a-b": "1", "é.txt": "2"})
        assert fetch(clone.url, tmp_path) == commit
        tree = repository.open_tree(tmp_path / "store", CommitId(commit))
        assert tree.paths() == ["a-b", "a/b.yaml", "run.sh", "é.txt"]
        assert tree.read("a/b.yaml") == File(b"x: \xff\r\n")
        assert tree.read("run.sh").executable
        assert tree.links() == {"link": "/etc/passwd"}
        assert tree.unusable() == {"sub": "is a submodule"}
        tree.close()

    def test_the_next_fetch_brings_only_the_difference(self, tmp_path: Path, clone: Clone) -> None:
        """A commit that changes one of many files is a small pack; the older commit stays
        readable.
        """
        noise = random.Random(1)
        first = clone.push({f"f{n}": noise.randbytes(500) for n in range(300)})
        fetch(clone.url, tmp_path)
        before = packs(tmp_path)
        second = clone.push({"f7": "new"})
        assert fetch(clone.url, tmp_path) == second
        assert len(packs(tmp_path)) == len(before) + 1
        assert packs(tmp_path)[0] < before[0] / 3
        assert files(tmp_path, CommitId(second))["f7"].data == b"new"
        assert len(files(tmp_path, CommitId(first))["f7"].data) == 500

    def test_only_the_newest_state_is_fetched(self, tmp_path: Path, clone: Clone) -> None:
        """History, however long, costs nothing."""
        first = clone.push({"big": bytes(range(256)) * 40})
        clone.push({"big": None, "small": "1"})
        fetch(clone.url, tmp_path)
        with pytest.raises(SourceError):
            repository.open_tree(tmp_path / "store", CommitId(first))
        assert sum(packs(tmp_path)) < 1000

    def test_a_known_commit_is_named_and_not_fetched(self, tmp_path: Path, clone: Clone) -> None:
        """No store is made for it."""
        commit = clone.push({"a": "1"})
        assert fetch(clone.url, tmp_path, known_commit=commit) == commit
        assert not (tmp_path / "store").exists()

    def test_a_force_push_back_needs_no_new_objects(self, tmp_path: Path, clone: Clone) -> None:
        """A branch that goes back to an older commit is followed."""
        first = clone.push({"a": "1"})
        fetch(clone.url, tmp_path)
        clone.push({"a": "2"})
        fetch(clone.url, tmp_path)
        clone.git("reset", "--quiet", "--hard", first)
        clone.git("push", "--quiet", "--force", "origin", "HEAD:main")
        assert fetch(clone.url, tmp_path) == first
        assert files(tmp_path, CommitId(first))["a"].data == b"1"

    @pytest.mark.parametrize("damage", ["pack", "listing", "config", "folder"])
    def test_a_broken_store_is_made_anew(self, tmp_path: Path, clone: Clone, damage: str) -> None:
        """Whatever was lost, at the latest the second look heals it."""
        commit = CommitId(clone.push({"a": "1", "b": "2"}))
        fetch(clone.url, tmp_path)
        store = tmp_path / "store"
        match damage:
            case "pack":
                pack = next(store.glob("objects/pack/*.pack"))
                pack.chmod(0o600)
                pack.write_bytes(b"PACK" + bytes(pack.stat().st_size - 4))
            case "listing":
                (store / "listings" / commit).write_text("{")
            case "config":
                (store / "HEAD").unlink()
            case _:
                shutil.rmtree(store / "objects")
        with contextlib.suppress(SourceError):
            fetch(clone.url, tmp_path)
            files(tmp_path, commit)
        fetch(clone.url, tmp_path)
        assert files(tmp_path, commit)["b"].data == b"2"

    @pytest.mark.parametrize("version_2", [True, False])
    def test_branches_tags_and_commits_are_followed(
        self, tmp_path: Path, server: GitServer, clone: Clone, version_2: bool
    ) -> None:
        """A revision wins over a branch; an annotated tag is its commit; a commit is found behind
        the branch too; also on old servers.
        """
        server.protocol_2 = version_2
        first = clone.push({"a": "1"})
        clone.git("tag", "-a", "v1", "-m", "one")
        clone.git("push", "--quiet", "origin", "v1", "HEAD:refs/heads/feature/x")
        second = clone.push({"a": "2"})
        for ref, commit in (
            (repository.Ref(), second),
            (repository.Ref("main"), second),
            (repository.Ref("feature/x"), first),
            (repository.Ref("main", "v1"), first),
            (repository.Ref("main", "refs/tags/v1"), first),
            (repository.Ref("", first), first),
        ):
            assert fetch(clone.url, tmp_path, ref) == commit
            assert asyncio.run(repository.remote_head(clone.url, ref=ref)) == commit
        assert files(tmp_path, CommitId(first))["a"].data == b"1"

    def test_a_commit_is_found_by_seven_digits(self, tmp_path: Path, clone: Clone) -> None:
        """At the tip of a branch, or fetched before; several that match are an error with both
        ids.
        """
        first = clone.push({"a": "1"})
        assert fetch(clone.url, tmp_path, repository.Ref(revision=first[:7])) == first
        second = clone.push({"a": "2"})
        assert fetch(clone.url, tmp_path, repository.Ref(revision=second[:9])) == second
        assert fetch(clone.url, tmp_path, repository.Ref(revision=first[:7])) == first
        twin = tmp_path / "store" / "listings" / (second[:12] + "0" * 28)
        twin.write_bytes(b"")
        with pytest.raises(UsageError, match="beginning of 2 commits"):
            fetch(clone.url, tmp_path, repository.Ref(revision=second[:7]))
        with pytest.raises(NotFound):
            fetch(clone.url, tmp_path, repository.Ref(revision="0123456"))

    def test_a_server_that_gives_out_branches_alone_still_serves_an_old_commit(
        self, tmp_path: Path, server: GitServer, clone: Clone
    ) -> None:
        """The commit is then looked for in the whole history."""
        server.protocol_2 = False
        clone_config = ("-C", str(clone.bare), "config", "uploadpack.allowAnySHA1InWant", "false")
        clone.git(*clone_config)
        first = clone.push({"a": "1"})
        clone.push({"a": "2"})
        assert fetch(clone.url, tmp_path, repository.Ref("", first)) == first
        assert files(tmp_path, CommitId(first))["a"].data == b"1"

    def test_sha256_repositories_are_read(self, tmp_path: Path, server: GitServer) -> None:
        """The object format is the server's."""
        bare = server.create("new")
        shutil.rmtree(bare)
        clone = Clone.__new__(Clone)
        clone.folder, clone.bare, clone.url = tmp_path / "clone", bare, server.url("new")
        clone.git(
            "init",
            "--quiet",
            "--bare",
            "--object-format=sha256",
            "--initial-branch=main",
            str(bare),
        )
        clone.git("init", "--quiet", "--object-format=sha256")
        clone.git("remote", "add", "origin", str(bare))
        commit = clone.push({"a": "1"})
        assert len(commit) == 64
        assert fetch(clone.url, tmp_path) == commit
        assert files(tmp_path, CommitId(commit))["a"].data == b"1"

    def test_a_mirror_takes_the_place_of_a_prefix(
        self, tmp_path: Path, server: GitServer, clone: Clone
    ) -> None:
        """The longest prefix wins; errors go on naming the address that a person wrote."""
        commit = clone.push({"a": "1"})
        mirrors = {
            "https://git.example.com/": "http://127.0.0.1:1/",
            "https://git.example.com/team/": server.base,
        }
        assert fetch("https://git.example.com/team/apps.git", tmp_path, mirrors=mirrors) == commit
        with pytest.raises(
            NotFound, match=r"https://git.example.com/team/none.git is not a Git repository"
        ):
            fetch("https://git.example.com/team/none.git", tmp_path, mirrors=mirrors)


class TestTlsAndPassword:
    def test_a_private_ca_and_a_password_open_the_repository(
        self, tmp_path: Path, identity: TlsIdentity
    ) -> None:
        """Both come with the credential."""
        (tmp_path / "git").mkdir()
        with GitServer(
            tmp_path / "git", tls=(identity.cert_file, identity.key_file), auth=("ada", "s3cret:ü")
        ) as server:
            clone = Clone(server, "apps", tmp_path / "clone")
            commit = clone.push({"a": "1"})
            right = repository.Credential("ada", "s3cret:ü", identity.ca_pem)
            assert fetch(clone.url, tmp_path, credential=right) == commit
            self._each_failure_is_told_apart(clone.url, tmp_path, identity.ca_pem)

    def _each_failure_is_told_apart(self, url: str, tmp_path: Path, ca: bytes) -> None:
        for credential, kind, words in (
            (repository.Credential("ada", "s3cret:ü"), SourceError, "is not trusted"),
            (
                repository.Credential("ada", "wrong-word", ca),
                LoginError,
                "refuses the user or the password",
            ),
            (repository.Credential(ca_pem=ca), LoginError, "needs a user and a password"),
        ):
            with pytest.raises(kind, match=words) as caught:
                fetch(url, tmp_path, credential=credential)
            assert "wrong-word" not in str(caught.value) + caught.value.next_step
            assert caught.value.next_step

    def test_a_password_in_the_address_is_used_and_never_shown(self, tmp_path: Path) -> None:
        """Errors name the address without it."""
        (tmp_path / "git").mkdir()
        with GitServer(tmp_path / "git", auth=("ada", "p@ss")) as server:
            clone = Clone(server, "apps", tmp_path / "clone")
            commit = clone.push({"a": "1"})
            assert fetch(clone.url.replace("://", "://ada:p%40ss@"), tmp_path) == commit
            with pytest.raises(LoginError) as caught:
                fetch(clone.url.replace("://", "://ada:wrong-word@"), tmp_path)
            assert (
                "wrong-word" not in repr(caught.value) + caught.value.subject + caught.value.summary
            )


class TestRefusals:
    @pytest.mark.parametrize(
        ("ref", "words", "step"),
        [
            (repository.Ref("man"), "has no branch man", "main"),
            (repository.Ref("", "v9"), "has no revision v9", "Valid names are, for example, main."),
            (repository.Ref("", "0123abc"), "has no revision 0123abc", "all 40 digits"),
            (repository.Ref("", NO_COMMIT), f"has no commit {NO_COMMIT}", "Push it"),
        ],
    )
    def test_a_name_that_is_not_there_is_answered_with_the_nearest(
        self, tmp_path: Path, clone: Clone, ref: repository.Ref, words: str, step: str
    ) -> None:
        """One line with the address, and what to write instead."""
        clone.push({"a": "1"})
        with pytest.raises(NotFound, match=words) as caught:
            fetch(clone.url, tmp_path, ref)
        assert clone.url in caught.value.summary
        assert step in caught.value.next_step

    def test_an_empty_repository_says_so(self, tmp_path: Path, clone: Clone) -> None:
        """It is no error of the branch's name."""
        with pytest.raises(SourceError, match="is empty"):
            fetch(clone.url, tmp_path, repository.Ref("main"))

    @pytest.mark.parametrize(
        ("url", "kind", "words"),
        [
            ("http://127.0.0.1:1/x.git", SourceError, "does not take connections"),
            ("http://no.such.host.invalid/x.git", SourceError, "cannot be resolved"),
            ("ssh://git@example.com/x.git", UsageError, "SSH, which is not supported yet"),
            ("git@example.com:x.git", UsageError, "SSH, which is not supported yet"),
            ("file:///etc", UsageError, "not an http or https address"),
            ("/etc", UsageError, "not an http or https address"),
        ],
    )
    def test_what_cannot_be_reached_is_told_apart(
        self, tmp_path: Path, url: str, kind: type[FleetError], words: str
    ) -> None:
        """Nobody there, no such host, and addresses of other kinds."""
        with pytest.raises(kind, match=words) as caught:
            fetch(url, tmp_path)
        assert "\n" not in caught.value.summary
        assert caught.value.next_step

    def test_a_repository_past_its_limits_is_refused(self, tmp_path: Path, clone: Clone) -> None:
        """Bytes, entries, refs and time each have a bound, one past it is a line with the number,
        and nothing is left half done.
        """
        commit = clone.push({f"d{n}/f": bytes(range(n % 250, 256)) * 2000 for n in range(9)})
        clone.git("push", "--quiet", "origin", *(f"HEAD:refs/heads/b{n}" for n in range(5)))
        for limits, kind, words in (
            (repository.GitLimits(pack=4096), SourceError, "larger than"),
            (repository.GitLimits(entries=17), SourceError, "more than 17 files and folders"),
            (repository.GitLimits(seconds=0.01), DeadlineError, "within 0.01 s"),
        ):
            with pytest.raises(kind, match=words):
                fetch(clone.url, tmp_path, limits=limits)
        with pytest.raises(SourceError, match="more than 3 refs"):
            fetch(clone.url, tmp_path, repository.Ref("none"), limits=repository.GitLimits(refs=3))
        assert fetch(clone.url, tmp_path, limits=repository.GitLimits(entries=18)) == commit
        assert not list((tmp_path / "store").glob("**/*tmp*"))

    def test_a_huge_file_is_listed_and_never_read(self, tmp_path: Path, clone: Clone) -> None:
        """A megabyte of pack may stand for a gigabyte: its size is known before the manager's
        process touches it.
        """
        commit = clone.push({"a": "1", "zeros": bytes(6 * 1024 * 1024)})
        fetch(clone.url, tmp_path)
        tree = repository.open_tree(tmp_path / "store", CommitId(commit))
        with pytest.raises(InvalidFile, match="zeros: has 6291456 bytes"):
            tree.read("zeros")
        assert tree.read("a").data == b"1"
        tree.close()

    def test_memory_is_bounded_in_the_child(self, tmp_path: Path, clone: Clone) -> None:
        """An object that unpacks past the limit ends the child, not the manager."""
        clone.push({"zeros": bytes(100 * 1024 * 1024)})
        with pytest.raises(SourceError, match=r"memory"):
            fetch(clone.url, tmp_path, limits=repository.GitLimits(memory=64 * 1024 * 1024))
