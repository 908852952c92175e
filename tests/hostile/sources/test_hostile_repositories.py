"""Repositories whose trees attack: what is odd is left out by name, what is endless is refused, and
nothing is written but the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import zlib
from pathlib import Path

import pytest

from fleetctl.core.model.errors import NotFound, SourceError
from fleetctl.core.model.ids import CommitId
from fleetctl.sources.git import repository
from tests.servers.gitserver import GitServer


class Forge:
    """Writes objects that git itself would refuse to make."""

    def __init__(self, bare: Path) -> None:
        self.bare = bare

    def add(self, kind: str, body: bytes) -> str:
        data = f"{kind} {len(body)}\0".encode() + body
        name = hashlib.sha1(data).hexdigest()
        place = self.bare / "objects" / name[:2] / name[2:]
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            place.write_bytes(zlib.compress(data))
        return name

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        return self.add(
            "tree",
            b"".join(
                mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha)
                for mode, name, sha in entries
            ),
        )

    def publish(self, tree: str) -> str:
        who = b"Eve <eve@example.com> 1700000000 +0000"
        commit = self.add(
            "commit",
            b"tree " + tree.encode() + b"\nauthor " + who + b"\ncommitter " + who + b"\n\nx\n",
        )
        subprocess.run(
            ["git", "-C", self.bare, "update-ref", "refs/heads/main", commit], check=True
        )
        return commit


@pytest.fixture
def forge(server: GitServer) -> Forge:
    return Forge(server.create("evil"))


def fetch(server: GitServer, tmp_path: Path, **more: object) -> CommitId:
    return asyncio.run(repository.fetch(server.url("evil"), store=tmp_path / "store", **more))


def test_odd_names_are_left_out_by_name(server: GitServer, forge: Forge, tmp_path: Path) -> None:
    """Whatever could not stand in an archive, or would mean something to a shell, a file system or
    a terminal, is not among the files.
    """
    blob = forge.add("blob", b"x")
    inner = forge.tree(("100644", b"config", blob))
    odd = [
        b"..",
        b".git",
        b".GIT",
        b"a\nb",
        b"a\x1b[31m",
        b"a\\b",
        b"a/b",
        b"\xff\xfe",
        b".",
        b"x" * 1100,
    ]
    entries = [("100644", name, blob) for name in odd] + [
        ("40000", b".Git", inner),
        ("40000", b"...", inner),
        ("100644", b"-rf", blob),
    ]
    entries += [
        ("120000", b"link", forge.add("blob", b"/etc/passwd")),
        ("160000", b"module", "1" * 40),
        ("100644", b"ok.yaml", blob),
    ]
    forge.publish(forge.tree(*sorted(entries, key=lambda e: e[1])))
    tree = repository.open_tree(tmp_path / "store", fetch(server, tmp_path))
    try:
        assert list(tree.paths()) == ["-rf", ".../config", "ok.yaml"]
        assert tree.links() == {"link": "/etc/passwd"}
        assert len(tree.unusable()) == len(entries) - 4
        assert tree.unusable()["module"] == "is a submodule"
        with pytest.raises(KeyError):
            tree.read("../../etc/passwd")
    finally:
        tree.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["git", "store"]


def test_a_name_that_stands_twice_counts_once(
    server: GitServer, forge: Forge, tmp_path: Path
) -> None:
    """What one reader takes and another overlooks is not left to chance."""
    one, two = forge.add("blob", b"1"), forge.add("blob", b"2")
    forge.publish(forge.tree(("100644", b"a", one), ("100644", b"a", two)))
    tree = repository.open_tree(tmp_path / "store", fetch(server, tmp_path))
    assert tree.paths() == ["a"]
    assert tree.read("a").data == b"1"
    assert tree.unusable() == {"a": "has a duplicate name in its folder"}
    tree.close()


def test_a_tree_bomb_is_stopped_by_its_entries(
    server: GitServer, forge: Forge, tmp_path: Path
) -> None:
    """Ten folders of the same ten folders, twenty deep: a few kilobytes that name a hundred million
    million million files.
    """
    tree = forge.tree(("100644", b"f", forge.add("blob", b"x")))
    for _ in range(20):
        tree = forge.tree(*(("40000", b"d%d" % n, tree) for n in range(10)))
    forge.publish(tree)
    with pytest.raises(SourceError, match="more than 20000 files and folders"):
        fetch(server, tmp_path, limits=repository.GitLimits(entries=20_000))


def test_a_deep_tree_is_cut(server: GitServer, forge: Forge, tmp_path: Path) -> None:
    """At the depth of an archive."""
    tree = forge.tree(("100644", b"f", forge.add("blob", b"x")))
    for _ in range(3000):
        tree = forge.tree(("40000", b"d", tree))
    forge.publish(tree)
    opened = repository.open_tree(tmp_path / "store", fetch(server, tmp_path))
    assert list(opened.paths()) == []
    assert len(opened.unusable()) == 1
    opened.close()


def test_a_commit_whose_parts_are_missing_is_refused(
    server: GitServer, forge: Forge, tmp_path: Path
) -> None:
    """No listing is written for what is not whole, and the next good commit is read as ever."""
    missing = "2" * 40
    forge.publish(forge.tree(("40000", b"d", missing)))
    with pytest.raises(SourceError):
        fetch(server, tmp_path)
    assert not list((tmp_path / "store").glob("listings/*"))
    good = forge.publish(forge.tree(("100644", b"a", forge.add("blob", b"1"))))
    assert fetch(server, tmp_path) == good


def test_a_flood_of_refs_is_refused(server: GitServer, forge: Forge, tmp_path: Path) -> None:
    """Only what may be meant is asked for; where the server sends all, they are counted."""
    commit = forge.publish(forge.tree(("100644", b"a", forge.add("blob", b"1"))))
    lines = sorted(f"{commit} refs/heads/main{n}\n" for n in range(3000))
    (forge.bare / "packed-refs").write_text(
        "# pack-refs with: peeled fully-peeled sorted \n" + "".join(lines)
    )
    assert fetch(server, tmp_path) == commit
    with pytest.raises(SourceError, match="more than 1000 refs"):
        fetch(server, tmp_path, ref=repository.Ref("main"), limits=repository.GitLimits(refs=1000))


def test_a_tag_of_tags_of_tags_ends(server: GitServer, forge: Forge, tmp_path: Path) -> None:
    """What is behind them is not looked for without end, and a tag of a file is no commit."""
    target, kind = forge.add("blob", b"1"), "blob"
    for n in range(30):
        target = forge.add(
            "tag",
            f"object {target}\ntype {kind}\ntag t{n}\ntagger Eve <e@example.com> 1700000000"
            " +0000\n\nx\n".encode(),
        )
        kind = "tag"
    forge.publish(forge.tree())
    subprocess.run(["git", "-C", forge.bare, "update-ref", "refs/tags/v1", target], check=True)
    with pytest.raises(NotFound, match="is not a commit"):
        fetch(server, tmp_path, ref=repository.Ref("", "v1"))
