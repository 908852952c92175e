"""A directory that was renamed: which bundle is which."""

from __future__ import annotations

from fleetctl.core.model.bundle import BundleSpec, File
from fleetctl.core.model.ids import BundleName, Digest, Workspace
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.scan.renames import keeping, likeness, probable, release_name_of


def bundle(path: str, archive: str = "", *, release: str = "", namespace: str = "") -> BundleSpec:
    options = Options(
        helm=HelmOptions(release_name=release) if release else None,
        default_namespace=namespace or None,
    )
    name = BundleName(f"apps-{path.replace('/', '-')}")
    return BundleSpec(
        workspace=Workspace("w"),
        name=name,
        path=path,
        archive=Digest(archive or path),
        options=options,
    )


def pairs(
    gone: list[BundleSpec], come: list[BundleSpec], share: float = 0.0
) -> list[tuple[str, str]]:
    return [(move.old, move.new) for move in probable(gone, come, lambda _one, _other: share)]


def test_the_same_files_elsewhere() -> None:
    """Whatever the path is called."""
    found = probable([bundle("apps/web", "d1")], [bundle("platform/frontend", "d1")])
    assert [move.words for move in found] == [
        "apps/web → platform/frontend looks like a move (the same files)"
    ]


def test_the_same_folder_name_with_other_content() -> None:
    """A move and a change in one commit."""
    assert pairs([bundle("apps/web", "d1")], [bundle("platform/web", "d2")]) == [
        ("apps-apps-web", "apps-platform-web")
    ]


def test_nearly_the_same_files() -> None:
    """Neither folder nor content is quite the same."""
    assert pairs([bundle("a/web", "d1")], [bundle("b/front", "d2")], share=0.8) == [
        ("apps-a-web", "apps-b-front")
    ]
    assert pairs([bundle("a/web", "d1")], [bundle("b/front", "d2")], share=0.5) == []


def test_one_release_in_one_namespace() -> None:
    """Both state it: they would fight for it otherwise. In another namespace it is another
    release.
    """
    old = bundle("a", "d1", release="shop", namespace="x")
    assert pairs([old], [bundle("b", "d2", release="shop", namespace="x")]) == [
        ("apps-a", "apps-b")
    ]
    assert pairs([old], [bundle("b", "d2", release="shop", namespace="y")]) == []


def test_each_is_part_of_one_move() -> None:
    """The same files count more than the same name, and of two that are as likely the nearer
    path.
    """
    gone = [bundle("apps/web", "d1"), bundle("apps/db", "d2")]
    come = [bundle("x/web", "d2"), bundle("x/db", "d1")]
    assert pairs(gone, come) == [("apps-apps-db", "apps-x-web"), ("apps-apps-web", "apps-x-db")]
    twins = [bundle("eu/prod/web", "d1"), bundle("us/prod/web", "d1")]
    moved = [bundle("us/live/web", "d1"), bundle("eu/live/web", "d1")]
    assert pairs(twins, moved) == [
        ("apps-eu-prod-web", "apps-eu-live-web"),
        ("apps-us-prod-web", "apps-us-live-web"),
    ]
    assert pairs(twins, moved[:1]) == [("apps-us-prod-web", "apps-us-live-web")]


def test_a_removal_beside_something_new_is_no_move() -> None:
    """Nothing in common; nor do two roots have the same name."""
    assert pairs([bundle("web", "d1")], [bundle("db", "d2")]) == []
    assert pairs([bundle("", "d1")], [bundle("", "d2")]) == []


def test_likeness_counts_lines() -> None:
    """Of all lines, those that both have; separators and indentation tell nothing."""
    one = {"m.yaml": File(b"---\na: 1\nb: 2\nc: 3\n")}
    assert likeness(one, {"other.yaml": File(b"a: 1\n  b: 2\nc: 4\n")}) == 0.5
    assert likeness(one, one) == 1.0
    assert likeness({}, {}) == 0.0


def test_a_release_is_kept_where_none_is_stated() -> None:
    """What Git states counts."""
    assert release_name_of(keeping(Options(), "web")) == "web"
    assert release_name_of(keeping(Options(helm=HelmOptions(release_name="own")), "web")) == "own"
    assert keeping(Options(), "") == Options()
