"""Commands that change something: what they send, what they ask, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cli.person import WORKSPACE, Person, Shop
from tests.support.cli.process import login_in, on_terminal

GROUP = (
    "apiVersion: fleet.cattle.io/v1alpha1\nkind: ClusterGroup\nmetadata: {name: NAME}\nspec:"
    " {selector: {matchLabels: {env: prod}}}\n"
)


def _puts(shop: Shop) -> list[str]:
    return [call for call in shop.service.calls if call.startswith("put ")]


def _hold(bundle: str, removals: int) -> dict[str, Any]:
    return {
        "kind": "Bundle",
        "workspace": WORKSPACE,
        "name": bundle,
        "bundle": bundle,
        "removals": removals,
        "of": 40,
        "since": "2026-01-01T00:00:00Z",
        "message": (
            f"would be removed from {removals} of 40 clusters (a, b and 10 more): labels of"
            " clusters changed"
        ),
        "confirm": f"fleetctl held confirm {bundle} --removals {removals}",
    }


class TestGitRepoAdd:
    def test_a_secret_is_made_first(self, person: Person, shop: Shop, tmp_path: Path):
        """Password from standard input, authority from a file, both in a Secret that the GitRepo
        names.
        """
        ca = tmp_path / "ca.pem"
        ca.write_text((shop.config.data_dir / "tls" / "ca.pem").read_text())
        words = (
            "gitrepo",
            "add",
            "apps",
            "https://git.test/apps",
            "--username",
            "bob",
            "--password-stdin",
            "--ca-file",
            str(ca),
        )
        assert person.good(*words, stdin="open sesame\n") == "gitrepo/apps created\n"
        secret = shop.service.objects["Secret", WORKSPACE, "apps-git"]
        assert secret["type"] == "kubernetes.io/basic-auth"
        assert secret["stringData"] == {
            "username": "bob",
            "password": "open sesame",
            "cacerts": ca.read_text(),
        }
        assert (
            shop.service.objects["GitRepo", WORKSPACE, "apps"]["spec"]["clientSecretName"]
            == "apps-git"
        )
        assert [call for call in _puts(shop) if "dry" not in call] == [
            f"put Secret {WORKSPACE}/apps-git",
            f"put GitRepo {WORKSPACE}/apps",
        ]

    def test_every_option_stands_in_the_spec(self, person: Person, shop: Shop):
        """In Fleet's keys; what is not said is not sent."""
        words = (
            "gitrepo add a https://git.test/a --branch main --path x --path y --target-namespace ns"
            " --service-account sa --paused"
        )
        more = (
            "--polling-interval 30s --disable-polling --keep-resources --correct-drift --label"
            " team=a --target group:prod --target paris"
        )
        person.good(*words.split(), *more.split(), "--target", "env in (a,b)", "-l", "tier=gold")
        doc = shop.service.objects["GitRepo", WORKSPACE, "a"]
        assert doc["metadata"] == {"name": "a", "namespace": WORKSPACE, "labels": {"team": "a"}}
        assert doc["spec"] == {
            "repo": "https://git.test/a",
            "branch": "main",
            "paths": ["x", "y"],
            "targets": [
                {"name": "group:prod", "clusterGroup": "prod"},
                {"name": "paris", "clusterName": "paris"},
                {
                    "name": "target2",
                    "clusterSelector": {
                        "matchExpressions": [{"key": "env", "operator": "In", "values": ["a", "b"]}]
                    },
                },
                {"name": "selector", "clusterSelector": {"matchLabels": {"tier": "gold"}}},
            ],
            "targetNamespace": "ns",
            "serviceAccount": "sa",
            "pollingInterval": "30s",
            "disablePolling": True,
            "paused": True,
            "keepResources": True,
            "correctDrift": {"enabled": True},
        }

    def test_without_targets_it_goes_everywhere(self, person: Person, shop: Shop):
        """And says so in the object."""
        person.good("gitrepo", "add", "a", "https://git.test/a")
        assert shop.service.objects["GitRepo", WORKSPACE, "a"]["spec"]["targets"] == [
            {"name": "all", "clusterSelector": {}}
        ]

    def test_another_spec_is_not_overwritten_by_mistake(self, person: Person, shop: Shop):
        """The same again is fine; another address needs --replace."""
        person.good("gitrepo", "add", "a", "https://git.test/a")
        assert "unchanged" in person.good("gitrepo", "add", "a", "https://git.test/a")
        refused = person.run("gitrepo", "add", "a", "https://git.test/b")
        assert refused.status == 1
        assert "--replace" in refused.err
        assert "configured" in person.good("gitrepo", "add", "a", "https://git.test/b", "--replace")

    def test_dry_run_sends_nothing_that_stays(self, person: Person, shop: Shop):
        """Not even the Secret."""
        words = (
            "gitrepo",
            "add",
            "a",
            "https://git.test/a",
            "--username",
            "u",
            "--password-stdin",
            "--dry-run",
        )
        assert "created (dry run)" in person.good(*words, stdin="p\n")
        assert shop.service.objects == {}

    @pytest.mark.parametrize(
        ("words", "stdin", "says"),
        [
            (("https://u:hunter2@git.test/a",), "", "--password-stdin"),
            (("https://git.test/a", "--username", "u"), "", "belong together"),
            (("https://git.test/a", "--username", "u", "--password-stdin"), "", "is empty"),
            (("https://git.test/a", "--ca-file", "/nonexistent"), "", "cannot be read"),
            (("https://git.test/a", "--polling-interval", "soon"), "", "not a duration"),
            (("https://git.test/a", "-l", "a=b,,c"), "", "empty term"),
            (("https://git.test/a", "--label", "nonsense"), "", "not a label"),
        ],
    )
    def test_what_is_wrong_is_said_before_anything_is_sent(
        self, person: Person, shop: Shop, words: tuple[str, ...], stdin: str, says: str
    ):
        """With exit status 2; a password in the address is never repeated."""
        done = person.run("gitrepo", "add", "a", *words, stdin=stdin)
        assert (done.status, done.out) == (2, "")
        assert says in done.err
        assert "hunter2" not in done.err
        assert shop.service.objects == {}


class TestApply:
    def test_many_documents_of_a_folder(self, person: Person, shop: Shop, tmp_path: Path):
        """Every YAML and JSON file below it, Lists and empty documents included."""
        folder = tmp_path / "objects"
        (folder / "sub").mkdir(parents=True)
        (folder / "a.yaml").write_text(
            "---\n" + GROUP.replace("NAME", "a") + "---\n---\n" + GROUP.replace("NAME", "b")
        )
        listed = {
            "kind": "List",
            "apiVersion": "v1",
            "items": [yaml.safe_load(GROUP.replace("NAME", "c"))],
        }
        (folder / "sub" / "c.json").write_text(json.dumps(listed))
        (folder / "notes.txt").write_text("not read")
        said = person.good("apply", "-f", str(folder))
        assert said.splitlines() == [
            "clustergroup/a created",
            "clustergroup/b created",
            "clustergroup/c created",
        ]
        assert set(shop.service.objects) == {("ClusterGroup", WORKSPACE, name) for name in "abc"}

    def test_all_are_checked_before_one_is_written(self, person: Person, shop: Shop):
        """The dry run of every document comes before the first write."""
        person.good(
            "apply",
            "-f",
            "-",
            stdin=GROUP.replace("NAME", "a") + "---\n" + GROUP.replace("NAME", "b"),
        )
        assert [call.split()[-1] for call in _puts(shop)] == [
            "dry",
            "dry",
            f"{WORKSPACE}/a",
            f"{WORKSPACE}/b",
        ]

    def test_a_token_is_shown_once_and_alone(self, person: Person):
        """Only its value is added to stdout."""
        doc = (
            "apiVersion: fleet.cattle.io/v1alpha1\nkind: ClusterRegistrationToken\nmetadata: {name:"
            " t}\nspec: {ttl: 1h}\n"
        )
        assert person.good("apply", "-f", "-", stdin=doc).splitlines() == [
            "clusterregistrationtoken/t created",
            "once",
        ]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("kind: Pod\nmetadata: {name: a}\n", "there is no kind 'Pod'"),
            ("kind: GitRepos\nmetadata: {}\n", "no metadata.name"),
            ("kind: GitRep\nmetadata: {name: a}\n", "Did you mean gitrepo"),
            ("- a\n", "not an object"),
            ("a: [\n", "standard input:2"),
            ("", "no object"),
            (
                GROUP.replace("NAME", "a").replace("name: a", "name: a, namespace: other"),
                "and -n is here",
            ),
        ],
    )
    def test_a_wrong_document_names_its_place(
        self, person: Person, shop: Shop, text: str, says: str
    ):
        """Exit status 2, and nothing is sent."""
        done = person.run("apply", "-f", "-", "-n", "here", stdin=text)
        assert done.status == 2
        assert says in done.err
        assert "standard input" in done.err or not text
        assert _puts(shop) == []

    @pytest.mark.parametrize("kind", ["GitRepoRestriction", "Policy", "BundleNamespaceMapping"])
    def test_what_would_narrow_rights_without_effect_is_refused(
        self, person: Person, shop: Shop, kind: str
    ):
        """Exit status 3, and nothing is sent."""
        done = person.run(
            "apply",
            "-f",
            "-",
            stdin=f"apiVersion: fleet.cattle.io/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\n",
        )
        assert done.status == 3
        assert "refused: not enforced in this version" in done.err
        assert _puts(shop) == []

    def test_no_file_is_a_usage_error(self, person: Person):
        """As is one that does not exist."""
        assert person.run("apply").status == 2
        assert "No such file" in person.run("apply", "-f", "/nonexistent").err


class TestDelete:
    def test_it_says_what_goes_and_needs_a_yes(self, person: Person, shop: Shop):
        """Without a terminal and without --yes nothing happens, with exit status 3."""
        shop.service.give("GitRepo", "apps")
        shop.service.gone = {
            "bundles": ["web", "db"],
            "deployments": 6,
            "clusters": ["a", "b", "c"],
        }
        done = person.run("gitrepo", "delete", "apps")
        assert done.status == 3
        assert "GitRepo apps: removes 2 bundles (web, db) from 3 clusters." in done.err
        assert "Add --yes." in done.err
        assert person.good("gitrepo", "delete", "apps", "--yes") == "gitrepo/apps deleted\n"
        assert shop.service.objects == {}

    def test_nothing_goes_when_one_is_missing(self, person: Person, shop: Shop):
        """All are looked at before the first is deleted."""
        shop.service.give("Cluster", "paris")
        assert person.run("cluster", "delete", "paris", "nope", "--yes").status == 1
        assert len(shop.service.objects) == 1
        assert (
            person.good("delete", "cl", "paris", "nope", "--yes", "--ignore-not-found")
            == "cluster/paris deleted\n"
        )

    def test_a_cluster_says_what_stays(self, person: Person, shop: Shop):
        """Without --uninstall its bundles stay, with it they go."""
        shop.service.give("Cluster", "paris")
        shop.service.gone = {"bundles": ["web"], "deployments": 1, "clusters": ["paris"]}
        assert "1 bundle stays on the cluster" in person.run("cluster", "delete", "paris").err
        assert (
            "removes 1 bundle (web) from it"
            in person.run("cluster", "delete", "paris", "--uninstall").err
        )

    def test_objects_of_a_file(self, person: Person, shop: Shop):
        """The same file that made them removes them."""
        person.good("apply", "-f", "-", stdin=GROUP.replace("NAME", "a"))
        person.good("delete", "-f", "-", "--yes", stdin=GROUP.replace("NAME", "a"))
        assert shop.service.objects == {}

    def test_a_person_is_asked(self, shop: Shop, tmp_path: Path):
        """On a terminal: y deletes, anything else does not."""
        env = login_in(tmp_path, shop)
        shop.service.give("GitRepo", "apps")
        status, screen = on_terminal(env, "gitrepo", "delete", "apps", typed="\n")
        assert (status, len(shop.service.objects)) == (3, 1)
        assert "Delete GitRepo apps? [y/N]" in screen
        status, screen = on_terminal(env, "gitrepo", "delete", "apps", typed="y\n")
        assert (status, shop.service.objects) == (0, {}), screen

    @pytest.mark.parametrize("words", [(), ("gr",), ("gr/",), ("gr", "a", "-f", "x")])
    def test_it_must_be_clear_what_goes(self, person: Person, words: tuple[str, ...]):
        """Never `all of a kind` by leaving something out."""
        assert person.run("delete", *words, "--yes").status == 2


class TestClusters:
    def test_register_prints_what_to_paste(self, person: Person, shop: Shop):
        """The token stands in a here-document, never in a command line."""
        said = person.good("cluster", "register", "paris", "-l", "env=prod", "--ttl", "30m")
        token = next(iter(shop.service.enrol_tokens))
        lines = said.splitlines()
        assert lines[lines.index(token) - 1].endswith("<<'TOKEN'")
        assert f"--ca-pin {shop.ca_pin}" in said
        assert said.count(token) == 1

    def test_register_for_scripts(self, person: Person, shop: Shop):
        """The token alone, or everything as JSON."""
        assert (
            person.good("cluster", "register", "a", "--token-only").strip()
            in shop.service.enrol_tokens
        )
        made = json.loads(person.good("cluster", "register", "a", "-o", "json"))
        assert {"token", "url", "caPin", "agentSha256"} <= set(made)

    def test_labels_are_set_and_taken_away(self, person: Person, shop: Shop):
        """`key-` removes."""
        shop.service.give("Cluster", "paris", metadata={"labels": {"old": "1"}})
        person.good("cluster", "label", "paris", "env=prod", "old-")
        assert shop.service.objects["Cluster", WORKSPACE, "paris"]["metadata"]["labels"] == {
            "env": "prod",
            "old": None,
        }
        assert person.run("cluster", "label", "paris", "nonsense").status == 2
        assert person.run("cluster", "label", "env=prod").status == 2
        assert person.run("cluster", "label", "-l", "env=prod", "paris", "a=b").status == 2
        assert person.run("cluster", "label", "nobody", "a=b").status == 1

    def test_labels_of_many_ask_before_much_goes(self, person: Person, shop: Shop):
        """The numbers, a question that nobody answers here, and with --yes the number that was
        shown; --dry-run does nothing.
        """
        for name in ("paris", "rome"):
            shop.service.give("Cluster", name, metadata={"labels": {"env": "prod"}})
        assert person.good("cluster", "label", "-l", "env=prod", "tier=gold").splitlines() == [
            "cluster/paris labeled",
            "cluster/rome labeled",
        ]
        shop.service.held = [_hold("web", 12)]
        dry = person.good("cluster", "label", "-l", "env=prod", "env-", "--dry-run").splitlines()
        assert dry[0] == "cluster/paris unlabeled (dry run)"
        assert dry[-2:] == [
            "would remove bundle/web from 12 clusters",
            "needs confirmation: 12 removals; --yes confirms",
        ]
        refused = person.run("cluster", "label", "-l", "env=prod", "env-")
        assert refused.status == 3
        assert "bundle web would be removed from 12 of 40 clusters" in refused.err
        assert "Add --yes." in refused.err
        assert (
            shop.service.objects["Cluster", WORKSPACE, "paris"]["metadata"]["labels"]["env"]
            == "prod"
        )
        assert (
            person.good("cluster", "label", "-l", "env=prod", "env-", "--yes").splitlines()[-1]
            == "removes bundle/web from 12 clusters"
        )
        assert shop.service.calls[-1] == "label [] env=prod {'env': None} False 12"
        shop.service.held = []

    def test_what_is_held_is_listed_and_confirmed(self, person: Person, shop: Shop):
        """The table with the commands on stderr, JSON as the API has it, and a yes to another
        number is refused.
        """
        shop.service.held = []
        assert "No removals are waiting" in person.run("held", "list").err
        shop.service.held = [_hold("web", 12)]
        done = person.run("held", "list")
        assert done.out.splitlines()[1].split()[:3] == ["bundle/web", "12/40", "clusters"]
        assert "To confirm: fleetctl held confirm web --removals 12" in done.err
        assert json.loads(person.good("held", "list", "-o", "json"))["items"] == shop.service.held
        assert person.good("held", "list", "-o", "name") == "bundle/web\n"
        assert person.run("held", "confirm", "web", "--removals", "11").status == 1
        assert person.run("held", "confirm", "web", "--removals", "x").status == 2
        assert (
            person.good("held", "confirm", "web", "--removals", "12")
            == "bundle/web is removed from 12 clusters\n"
        )

    def test_groups(self, person: Person, shop: Shop):
        """A group is a selector with a name."""
        assert person.run("clustergroup", "create", "prod").status == 2
        person.good("clustergroup", "create", "prod", "-l", "env=prod")
        assert shop.service.objects["ClusterGroup", WORKSPACE, "prod"]["spec"] == {
            "selector": {"matchLabels": {"env": "prod"}}
        }


def test_confirm_and_sync(person: Person, shop: Shop):
    """A held removal goes with exactly its number and commit."""
    shop.service.give(
        "GitRepo",
        "apps",
        status={"held": {"removals": 2, "of": 3, "bundles": ["a", "b"], "commit": "c" * 40}},
    )
    assert f"confirm apps --removals 2 --commit {'c' * 12}" in person.good("gitrepo", "get", "apps")
    person.good("gitrepo", "confirm", "apps", "--removals", "2", "--commit", "c" * 12)
    assert f"confirm 2 {'c' * 12}" in shop.service.calls
    assert "sync requested" in person.good("gitrepo", "sync", "apps")


def test_pause_and_resume(person: Person, shop: Shop):
    """Only `paused` changes; what is so already is left alone, and an unknown name changes
    nothing.
    """
    spec = {"repo": "https://example.org/x", "paths": ["a"], "clientSecretName": "s"}
    shop.service.give(
        "GitRepo",
        "apps",
        spec=dict(spec),
        status={"display": {"state": "Ready"}},
        metadata={"labels": {"a": "b"}},
    )
    shop.service.give("Cluster", "paris", spec={})
    assert person.run("gitrepo", "pause", "apps", "nope").status == 1
    assert "paused" not in shop.service.objects["GitRepo", "fleet-default", "apps"]["spec"]
    assert person.good("gitrepo", "pause", "apps") == "gitrepo/apps paused\n"
    put = shop.service.objects["GitRepo", "fleet-default", "apps"]
    assert (put["spec"], put["metadata"]["labels"], "status" in put) == (
        spec | {"paused": True},
        {"a": "b"},
        False,
    )
    assert person.good("gitrepo", "pause", "apps") == "gitrepo/apps paused already\n"
    assert person.good("gitrepo", "resume", "apps") == "gitrepo/apps resumed\n"
    assert shop.service.objects["GitRepo", "fleet-default", "apps"]["spec"] == spec
    assert person.good("cluster", "pause", "paris") == "cluster/paris paused\n"
    assert person.good("cluster", "resume", "paris") == "cluster/paris resumed\n"
