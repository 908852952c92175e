from typing import Any

from fleetctl.core.model.bundle import BundleSpec
from fleetctl.core.model.ids import BundleName, ClusterId, Digest, Generation, Workspace
from fleetctl.core.model.plan import Have, Want, decide
from fleetctl.core.model.wire import Dependency
from fleetctl.core.rollout.impact import (
    Standing,
    What,
    circle,
    group_changes,
    needs,
    option_paths,
    order_by_dependency,
    stages_of,
)
from fleetctl.core.rollout.strategy import Partition

WEB = BundleName("web")


def want(**other: Any) -> Want:
    said = {
        "archive": Digest("a1"),
        "options_digest": Digest("o1"),
        "options_key": "k1",
        "bundle_facts": "[{}, [], false]",
    }
    return Want(**{**said, **other})


def have(**other: Any) -> Have:
    said = {
        "generation": Generation(1),
        "archive": Digest("a1"),
        "options_digest": Digest("o1"),
        "options_key": "k1",
        "bundle_facts": "[{}, [], false]",
    }
    return Have(**{**said, **other})


def groups(
    wanted: dict[str, Want],
    had: dict[str, Have],
    standing: dict[str, Standing] | None = None,
    held: Any = None,
):
    now = {(ClusterId(c), WEB): w for c, w in wanted.items()}
    then = {(ClusterId(c), WEB): h for c, h in had.items()}
    known = {ClusterId(c): Standing(c) for c in (*wanted, *had)} | {
        ClusterId(c): s for c, s in (standing or {}).items()
    }
    return group_changes(decide(now, then), then, known, held)


class TestGrouped:
    def test_clusters_with_the_same_change_are_one_group(self):
        """Three from one version and one from another to the same new one: two groups, the larger
        first.
        """
        new = want(archive=Digest("a2"))
        found = groups(
            dict.fromkeys("abcd", new),
            {**dict.fromkeys("abc", have()), "d": have(archive=Digest("a0"))},
        )
        assert [(g.what, g.names, g.why) for g in found] == [
            (What.CHANGED, ["a", "b", "c"], ["files"]),
            (What.CHANGED, ["d"], ["files"]),
        ]

    def test_says_what_differs(self):
        """In words of fleet.yaml; what redeploys nothing is told apart."""
        cases = {
            "files": want(archive=Digest("a2")),
            "options": want(options_digest=Digest("o2"), options_key="k2"),
            "copied content": want(options_digest=Digest("o2")),
            "diff or correctDrift": want(options_key="k2"),
            "target": want(target="t"),
            "customization": want(customization="c"),
            "keepResources": want(keep_resources=True),
            "labels": want(bundle_facts='[{"a": "b"}, [], false]'),
            "dependsOn": want(bundle_facts='[{}, [{"name": "db"}], false]'),
            "paused": want(bundle_facts="[{}, [], true]"),
            "labels, dependsOn or paused": want(bundle_facts="?"),
        }
        for word, new in cases.items():
            [found] = groups({"a": new}, {"a": have()})
            assert found.why == [word]
            assert found.what is (
                What.CHANGED if word in {"files", "options", "copied content"} else What.TOLD
            )

    def test_who_gains_and_who_loses(self):
        """One that was being removed gains it; one that was never told loses nothing."""
        had = {
            "b": have(removed=True),
            "c": have(),
            "d": have(generation=Generation(0)),
            "e": have(generation=Generation(-3), staged="x"),
        }
        found = groups({"a": want(), "b": want(), "e": want()}, had)
        assert [(g.what, g.names, g.why) for g in found] == [
            (What.ADDED, ["a", "b", "e"], []),
            (What.REMOVED, ["c"], []),
            (What.TOLD, ["d"], ["never got it"]),
        ]

    def test_one_that_is_heard_speaks_for_all(self):
        """The representative is the first that is not silent; the silent, the paused and those
        behind are counted.
        """
        standing = {"a": Standing("a", "offline"), "b": Standing("b", "heard", paused=True)}
        new = want(archive=Digest("a2"))
        [two] = groups(dict.fromkeys("ab", new), dict.fromkeys("ab", have()), standing)
        assert (two.representative, two.offline, two.paused, two.behind) == ("b", 1, 1, 0)
        [behind] = groups({"c": new}, {"c": have(staged="x")})
        assert behind.behind == 1

    def test_what_is_held_is_a_group_of_its_own(self):
        """With the cause."""
        found = groups({}, dict.fromkeys("ab", have()), held={(ClusterId("a"), WEB): "last"})
        assert sorted((g.names, g.held) for g in found) == [(["a"], "last"), (["b"], "")]

    def test_names_are_cut_and_counts_are_not(self):
        """A hundred names of two hundred and fifty clusters."""
        [found] = groups({f"c{n:03}": want() for n in range(250)}, {})
        assert (found.clusters, len(found.names), found.names[0]) == (250, 100, "c000")


def spec(name: str, **other: Any) -> BundleSpec:
    return BundleSpec(workspace=Workspace("w"), name=BundleName(name), **other)


class TestOrder:
    def test_what_waits_comes_later(self):
        """Steps; what is in a circle stands in none."""
        after = {"web": ["db"], "db": ["infra"], "infra": [], "a": ["b"], "b": ["a"], "c": ["a"]}
        assert order_by_dependency(after) == [["infra"], ["db"], ["web"]]
        assert circle(after) == ["a", "b", "c"]

    def test_dependencies_are_found_by_name_and_by_label(self):
        """One that there is not is told."""
        one = spec(
            "web",
            depends_on=[
                Dependency(name="db"),
                Dependency(name="dbb"),
                Dependency(selector={"matchLabels": {"tier": "infra"}}),
            ],
        )
        labels = {
            BundleName("db"): {},
            BundleName("net"): {"tier": "infra"},
            BundleName("web"): {"tier": "infra"},
        }
        assert needs(one, labels) == (["db", "net"], ["dbb"])

    def test_a_name_with_a_selector_means_what_the_agent_takes_it_for(self):
        """Both must fit: it is not everybody with these labels beside it."""
        one = spec(
            "web", depends_on=[Dependency(name="db", selector={"matchLabels": {"tier": "infra"}})]
        )
        assert needs(one, {BundleName("db"): {}, BundleName("net"): {"tier": "infra"}}) == ([], [])
        assert needs(
            one, {BundleName("db"): {"tier": "infra"}, BundleName("net"): {"tier": "infra"}}
        ) == (["db"], [])

    def test_stages_count_who_is_told(self):
        """Of a partition that has been there before, only the redeployed ones."""
        part = Partition("canary", (ClusterId("a"), ClusterId("b")), 1, 60.0, approval=True)
        [found] = stages_of([part], {ClusterId("a")})
        assert (
            found.name,
            found.clusters,
            found.told,
            found.at_once,
            found.soak,
            found.approval,
        ) == ("canary", 2, 1, 1, 60.0, True)


def test_option_paths():
    """Down to the key that differs; lists are whole."""
    old = {"helm": {"values": {"a": 1, "b": {"c": 1}}, "version": "1"}, "namespace": "x"}
    new = {"helm": {"values": {"a": 1, "b": {"c": 2, "d": 3}}, "version": "1"}}
    assert option_paths(old, new) == ["helm.values.b.c", "helm.values.b.d", "namespace"]
