"""What the agent gives helm, against real API servers: definitions first, bundles of several
releases, fields that others own, and objects that cannot be changed.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.host import failpoints
from fleetctl.core.model.errors import (
    FleetError,
    ImmutableField,
    OwnershipConflict,
    ToolFailed,
    UsageError,
)
from tests.localkube.kubeapi import LocalKube
from tests.support.agent.workbench import Workbench

pytestmark = pytest.mark.cluster
CHART = "apiVersion: v2\nname: c\nversion: 0.1.0\n"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: '{value}'\n"
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{tier: "{tier}"}}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: "{app}"}}}}
  template:
    metadata: {{labels: {{app: "{app}"}}}}
    spec: {{containers: [{{name: web, image: "{image}"}}]}}
"""


@pytest.fixture
def bench(tmp_path: Path, kube: LocalKube, tool_env: dict[str, str]) -> Workbench:
    return Workbench(tmp_path / "agent", kube["dev"].kubeconfig, tool_env)


@contextmanager
def cut_off_at(where: str) -> Iterator[None]:
    """The agent comes no further than this failpoint, or than its passing of that number."""
    name, _, passing = where.partition("@")
    failpoints.arm(f"{name}=raise@{passing}" if passing else f"{name}=raise")
    try:
        with pytest.raises(failpoints.InducedError):
            yield
    finally:
        failpoints.arm("")


def definition(kind: str, group: str, fields: str = "size", *, plural: str = "") -> str:
    """A CustomResourceDefinition as JSON, which is YAML."""
    plural = plural or f"{kind.lower()}s"
    properties = {name: {"type": "string"} for name in fields.split()}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": properties}},
    }
    return json.dumps(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": schema},
                    }
                ],
            },
        }
    )


def custom(kind: str, group: str, name: str = "one", **spec: str) -> str:
    return json.dumps(
        {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    )


class TestDefinitions:
    def test_a_definition_and_its_objects_in_one_bundle(self, bench: Workbench) -> None:
        """Applied first and adopted by helm, also over a discovery cache from before; changed
        together; kept when the bundle goes.
        """
        space, group = "crd-raw", "raw.example.com"
        bench.install(
            "plain", {"m.yaml": MAP.format(name="plain", value=1)}, {"defaultNamespace": space}
        )
        files = {
            "a.yaml": custom("Widget", group, size="big"),
            "b.yaml": definition("Widget", group),
        }
        bench.install("widgets", files, {"defaultNamespace": space})
        found = bench.get("crd", f"widgets.{group}")["metadata"]
        assert found["annotations"]["meta.helm.sh/release-name"] == "widgets"
        assert found["annotations"]["helm.sh/resource-policy"] == "keep"
        assert found["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert bench.get("widget", "one", "-n", space)["spec"] == {"size": "big"}
        uid = bench.uid("widget", "one", "-n", space)
        files = {
            "a.yaml": custom("Widget", group, size="big", colour="red"),
            "b.yaml": definition("Widget", group, "size colour"),
        }
        bench.install("widgets", files, {"defaultNamespace": space})
        assert bench.get("widget", "one", "-n", space)["spec"] == {"size": "big", "colour": "red"}
        assert bench.uid("widget", "one", "-n", space) == uid
        assert bench.history("widgets", space) == [(1, "superseded"), (2, "deployed")]
        bench.remove("widgets")
        assert bench.exists("crd", f"widgets.{group}")
        assert not bench.exists("widget", "one", "-n", space)

    @pytest.mark.parametrize("where", ["before-definitions", "after-definitions"])
    def test_an_attempt_that_is_cut_off_is_finished(self, bench: Workbench, where: str) -> None:
        """Definitions that are there already, with the marks of a release that never came to be,
        are no obstacle.
        """
        group = f"{where}.example.com"
        files = {"a.yaml": custom("Cut", group, size="big"), "b.yaml": definition("Cut", group)}
        with cut_off_at(where):
            bench.install("cuts", files, {"defaultNamespace": f"crd-{where}"})
        bench.again("cuts")
        assert bench.get(f"cuts.{group}", "one", "-n", f"crd-{where}")["spec"] == {"size": "big"}

    def test_definitions_go_with_the_bundle_where_it_says_so(self, bench: Workbench) -> None:
        """deleteCRDResources."""
        group = "gone.example.com"
        files = {"a.yaml": custom("Gadget", group), "b.yaml": definition("Gadget", group)}
        bench.install(
            "gadgets", files, {"defaultNamespace": "crd-gone", "deleteCRDResources": True}
        )
        bench.remove("gadgets")
        assert not bench.exists("crd", f"gadgets.{group}")

    def test_a_definition_that_is_not_accepted_is_named(self, bench: Workbench) -> None:
        """Its kind is taken by another plural: one line, and no release."""
        group = "taken.example.com"
        bench.install(
            "first", {"a.yaml": definition("Thing", group)}, {"defaultNamespace": "crd-taken"}
        )
        with pytest.raises(
            ToolFailed,
            match=f"CustomResourceDefinition stuff.{group} is not accepted: .*already in use",
        ):
            bench.install(
                "second",
                {"a.yaml": definition("Thing", group, plural="stuff")},
                {"defaultNamespace": "crd-taken"},
            )
        assert bench.releases("crd-taken") == ["first"]

    def test_what_another_release_holds_is_not_taken(self, bench: Workbench) -> None:
        """The second bundle names the first, and changes nothing, whatever it asks for; what nobody
        holds it gets with takeOwnership.
        """
        group = "held.example.com"
        bench.install(
            "first", {"a.yaml": definition("Held", group)}, {"defaultNamespace": "crd-held"}
        )
        options = {"defaultNamespace": "crd-held", "helm": {"takeOwnership": True}}
        for asked in ({"defaultNamespace": "crd-held"}, options):
            with pytest.raises(
                OwnershipConflict, match=f"helds.{group} belongs to bundle first already"
            ):
                bench.install("second", {"a.yaml": definition("Held", group, "other")}, asked)
        schema = bench.get("crd", f"helds.{group}")["spec"]["versions"][0]["schema"][
            "openAPIV3Schema"
        ]
        assert list(schema["properties"]["spec"]["properties"]) == ["size"]
        bench.kubectl(
            "annotate",
            "crd",
            f"helds.{group}",
            "meta.helm.sh/release-name-",
            "meta.helm.sh/release-namespace-",
        )
        with pytest.raises(UsageError, match=f"helds.{group} exists and was not made by helm"):
            bench.install(
                "second",
                {"a.yaml": definition("Held", group, "other")},
                {"defaultNamespace": "crd-held"},
            )
        bench.install("second", {"a.yaml": definition("Held", group, "other")}, options)
        assert (
            bench.get("crd", f"helds.{group}")["metadata"]["annotations"][
                "meta.helm.sh/release-name"
            ]
            == "second"
        )

    def test_a_charts_crds_folder_is_upgraded(self, bench: Workbench) -> None:
        """helm installs it once and never looks again; the agent applies it at each new generation,
        subcharts included.
        """
        group, space = "folder.example.com", "crd-folder"

        def chart(fields: str, **spec: str) -> dict[str, str]:
            values = "".join(f"    {key}: {value}\n" for key, value in spec.items())
            made = {
                "Chart.yaml": (
                    CHART + "dependencies: [{name: sub, version: 0.1.0, repository: ''}]\n"
                )
            }
            made |= {"charts/sub/Chart.yaml": CHART.replace("name: c", "name: sub")}
            made |= {
                "charts/sub/crds/x.yaml": definition("Sub", group, fields),
                "crds/y.yaml": definition("Top", group, fields),
            }
            body = "apiVersion: {g}/v1\nkind: {k}\nmetadata:\n  name: one\nspec:\n{v}"
            texts = [body.format(g=group, k=kind, v=values) for kind in ("Top", "Sub")]
            return made | {
                "templates/o.yaml": (
                    "---\n".join(texts)
                    + '\n{{ required "a size" .Values.size }}'.replace("{{", "# {{")
                )
            }

        options = {"defaultNamespace": space, "helm": {"values": {"size": "1"}}}
        bench.install("folder", chart("size", size="big"), options)
        bench.install("folder", chart("size colour", size="big", colour="red"), options)
        for kind in ("top", "sub"):
            assert bench.get(kind, "one", "-n", space)["spec"] == {"size": "big", "colour": "red"}

    def test_a_crds_folder_of_two_charts_belongs_to_the_first(self, bench: Workbench) -> None:
        """The second leaves it as it is, and is deployed."""
        group, space = "two.example.com", "crd-two"
        for name, fields in (
            ("one", "size"),
            ("two", "other"),
            ("one", "size more"),
            ("two", "other"),
        ):
            files = {"Chart.yaml": CHART, "crds/x.yaml": definition("Both", group, fields)}
            files |= {"templates/m.yaml": MAP.format(name=name, value=fields)}
            bench.install(name, files, {"defaultNamespace": space})
        schema = bench.get("crd", f"boths.{group}")["spec"]["versions"][0]["schema"][
            "openAPIV3Schema"
        ]
        assert list(schema["properties"]["spec"]["properties"]) == ["more", "size"]

    def test_a_chart_whose_templates_hold_a_definition_and_its_object(
        self, bench: Workbench
    ) -> None:
        """helm stops once before anything is touched; a later generation needs no second run; a
        definition that somebody deleted is brought back.
        """
        group, space = "template.example.com", "crd-template"

        def chart(size: str) -> dict[str, str]:
            return {
                "Chart.yaml": CHART,
                "templates/crd.yaml": definition("Inner", group, "size"),
                "templates/cr.yaml": custom("Inner", group, size=size),
            }

        bench.install("inner", chart("big"), {"defaultNamespace": space})
        assert bench.history("inner", space) == [(1, "deployed")]
        bench.install("inner", chart("small"), {"defaultNamespace": space})
        assert bench.get("inner", "one", "-n", space)["spec"] == {"size": "small"}
        bench.kubectl("delete", "crd", f"inners.{group}")
        bench.again("inner")
        assert bench.get("inner", "one", "-n", space)["spec"] == {"size": "small"}


def big(name: str, size: int) -> str:
    """A ConfigMap that does not get smaller when it is packed."""
    body = base64.b64encode(random.Random(name).randbytes(size)).decode()
    return MAP.format(name=name, value=body)


class TestParts:
    def test_a_bundle_larger_than_a_record_is_several_releases(self, bench: Workbench) -> None:
        """Changed, shrunk and grown without one object made anew; one that no longer fits into its
        part is handed over; all of it goes.
        """
        space = "parts-life"
        files = {f"{n:02}.yaml": big(f"m{n:02}", 60_000) for n in range(30)}
        bench.install("large", files, {"defaultNamespace": space})
        releases = bench.releases(space)
        assert len(releases) >= 3
        assert releases[:2] == ["large", "large.part-2"]
        uids = {
            item["metadata"]["name"]: item["metadata"]["uid"]
            for item in bench.get("cm", "-n", space)["items"]
        }

        files["00.yaml"] = MAP.format(name="m00", value="small now")
        files["zz.yaml"] = MAP.format(name="new", value=1)
        bench.install("large", files, {"defaultNamespace": space})
        assert bench.releases(space) == releases

        files["03.yaml"] = big("m03", 250_000)
        bench.install("large", files, {"defaultNamespace": space})
        now = {
            item["metadata"]["name"]: item["metadata"]
            for item in bench.get("cm", "-n", space)["items"]
        }
        assert {name: now[name]["uid"] for name in uids} == uids
        assert all(
            "fleetctl-handed-over" not in meta.get("annotations", {}) for meta in now.values()
        )
        assert all(
            "helm.sh/resource-policy" not in meta.get("annotations", {}) for meta in now.values()
        )

        left = {"01.yaml": files["01.yaml"]}
        bench.install("large", left, {"defaultNamespace": space})
        assert bench.releases(space) == ["large"]
        found = [
            i["metadata"]["name"]
            for i in bench.get("cm", "-n", space)["items"]
            if i["metadata"]["name"] != "kube-root-ca.crt"
        ]
        assert found == ["m01"]
        assert bench.uid("cm", "m01", "-n", space) == uids["m01"]

    def test_all_parts_go_with_the_bundle(self, bench: Workbench) -> None:
        """And none before: another release name hands every object over, from all parts to all
        parts.
        """
        space = "parts-going"
        files = {f"{n:02}.yaml": big(f"m{n:02}", 100_000) for n in range(9)}
        bench.install("going", files, {"defaultNamespace": space})
        parts = [f".part-{n}" for n in range(2, len(bench.releases(space)) + 1)]
        assert bench.releases(space) == ["going", *(f"going{part}" for part in parts)]
        assert parts
        uids = {
            i["metadata"]["name"]: i["metadata"]["uid"]
            for i in bench.get("cm", "-n", space)["items"]
        }
        bench.install(
            "going", files, {"defaultNamespace": space, "helm": {"releaseName": "renamed"}}
        )
        assert bench.releases(space) == ["renamed", *(f"renamed{part}" for part in parts)]
        assert {
            i["metadata"]["name"]: i["metadata"]["uid"]
            for i in bench.get("cm", "-n", space)["items"]
        } == uids
        bench.remove("going")
        assert bench.releases(space) == []
        assert not [
            i["metadata"]["name"]
            for i in bench.get("cm", "-n", space)["items"]
            if i["metadata"]["name"].startswith("m")
        ]

    def test_a_lost_note_of_who_is_where_is_read_from_the_cluster(self, bench: Workbench) -> None:
        """The objects carry the marks of their part."""
        space = "parts-lost"
        files = {f"{n:02}.yaml": big(f"m{n:02}", 100_000) for n in range(9)}
        bench.install("lost", files, {"defaultNamespace": space})
        before = {
            i["metadata"]["name"]: i["metadata"] for i in bench.get("cm", "-n", space)["items"]
        }
        (bench.folder / "objects" / "lost.json").unlink()
        files["04.yaml"] = MAP.format(name="m04", value="small")
        bench.install("lost", dict(reversed(files.items())), {"defaultNamespace": space})
        after = {
            i["metadata"]["name"]: i["metadata"] for i in bench.get("cm", "-n", space)["items"]
        }
        marks = [
            {n: m.get("annotations", {}).get("meta.helm.sh/release-name") for n, m in found.items()}
            for found in (before, after)
        ]
        assert marks[0] == marks[1]
        assert {n: m["uid"] for n, m in before.items()} == {n: m["uid"] for n, m in after.items()}

    @pytest.mark.parametrize(
        "where", ["after-part@1", "after-part@2", "after-helm", "objects-kept"]
    )
    def test_a_handover_that_is_cut_off_is_finished(self, bench: Workbench, where: str) -> None:
        """Wherever it stops, the next attempt ends in the same state: no object was made anew, no
        mark of the handover is left.
        """
        space = "parts-cut-" + where.replace("@", "-")
        files = {f"{n:02}.yaml": big(f"m{n:02}", 90_000) for n in range(9)}
        bench.install("cut", files, {"defaultNamespace": space})
        uids = {
            i["metadata"]["name"]: i["metadata"]["uid"]
            for i in bench.get("cm", "-n", space)["items"]
        }
        files["01.yaml"] = big("m01", 300_000)
        with cut_off_at(where):
            bench.install("cut", files, {"defaultNamespace": space})
        bench.again("cut")
        found = {i["metadata"]["name"]: i for i in bench.get("cm", "-n", space)["items"]}
        assert {name: item["metadata"]["uid"] for name, item in found.items()} == uids
        assert len(found["m01"]["data"]["a"]) == 400_000
        assert not [
            name
            for name, item in found.items()
            if "fleetctl-handed-over" in item["metadata"].get("annotations", {})
        ]
        assert not bench.journal["cut"].began

    def test_the_parts_are_waited_for_together(self, bench: Workbench) -> None:
        """helm.timeoutSeconds: what does not become ready is named; what it needs may be in any
        part.
        """
        files = {f"{n:02}.yaml": big(f"m{n:02}", 100_000) for n in range(9)}
        files["claim.yaml"] = (
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: never}\nspec:"
            " {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests:"
            " {storage: 1Gi}}}\n"
        )
        with pytest.raises(FleetError, match="not ready within 2 s: PersistentVolumeClaim never"):
            bench.install(
                "slow", files, {"defaultNamespace": "parts-wait", "helm": {"timeoutSeconds": 2}}
            )
        assert len(bench.releases("parts-wait")) > 1

    def test_what_cannot_be_spread_is_refused_with_the_numbers_before_anything_is_touched(
        self, bench: Workbench
    ) -> None:
        """A chart, and a single object."""
        chart = {
            "Chart.yaml": CHART,
            "templates/m.yaml": MAP.format(name="m", value=1),
            "files/big.txt": random.Random(1).randbytes(900_000),
        }
        with pytest.raises(
            UsageError,
            match=(
                r"9\d{5} bytes make a release record of about 1\d{6} bytes, and helm keeps at most"
                r" 1048576"
            ),
        ):
            bench.install("chart", chart, {"defaultNamespace": "parts-refused"})
        with pytest.raises(
            UsageError,
            match=r"ConfigMap parts-refused/one alone makes a release record of about \d{7} bytes",
        ):
            bench.install(
                "one", {"m.yaml": big("one", 600_000)}, {"defaultNamespace": "parts-refused"}
            )
        assert not bench.exists("namespace", "parts-refused")

    def test_a_chart_that_renders_too_much_is_refused_with_the_numbers(
        self, bench: Workbench
    ) -> None:
        """Only helm knows what it renders."""
        head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m{{ $i }}\ndata:\n"
        keys = (
            '{{- range $j := until 50 }}\n  k{{ $j }}: {{ sha256sum (printf "%d-%d" $i $j) }}\n{{-'
            " end }}\n"
        )
        text = "{{ range $i := until 600 }}\n---\n" + head + keys + "{{ end }}\n"
        with pytest.raises(FleetError, match=r"release record of about 1\d{6} bytes"):
            bench.install(
                "wide",
                {"Chart.yaml": CHART, "templates/m.yaml": text},
                {"defaultNamespace": "parts-wide"},
            )
        assert bench.releases("parts-wide") == []
        assert not bench.exists("cm", "m0", "-n", "parts-wide")


def scale(bench: Workbench, space: str, replicas: int, manager: str) -> None:
    """As an autoscaler does it: the scale subresource, in the name of its controller."""
    path = f"/apis/apps/v1/namespaces/{space}/deployments/web/scale?fieldManager={manager}"
    body = json.dumps({"spec": {"replicas": replicas}})
    bench.kubectl(
        "patch",
        "deployment",
        "web",
        "-n",
        space,
        "--subresource=scale",
        "--type=merge",
        "-p",
        body,
        f"--field-manager={manager}",
    )
    assert bench.get("deployment", "web", "-n", space)["spec"]["replicas"] == replicas, path


def chart_of(text: str) -> dict[str, str]:
    return {"Chart.yaml": CHART, "templates/m.yaml": text}


STYLES = {"raw": lambda text: {"m.yaml": text}, "chart": chart_of}


class TestRespect:
    @pytest.mark.parametrize("style", STYLES)
    def test_a_commit_leaves_to_others_what_is_theirs(self, bench: Workbench, style: str) -> None:
        """An autoscaler's replicas and a field under a rule stay, a hand edit without a rule is put
        back; what is compared is what Git states.
        """
        space, make = f"respect-{style}", STYLES[style]
        rule = {
            "kind": "Deployment",
            "apiVersion": "apps/v1",
            "jsonPointers": ["/metadata/labels/tier"],
        }
        options = {"defaultNamespace": space, "diff": {"comparePatches": [rule]}}
        bench.install("web", make(DEPLOYMENT.format(tier="a", app="web", image="web:1")), options)
        uid = bench.uid("deployment", "web", "-n", space)
        scale(bench, space, 5, "kube-controller-manager")
        bench.kubectl("label", "deployment", "web", "-n", space, "tier=mine", "--overwrite")
        patch = '{"spec":{"template":{"metadata":{"labels":{"app":"web","by":"hand"}},"spec":{"containers":[{"name":"web","image":"hand"}]}}}}'  # noqa: E501
        bench.kubectl("patch", "deployment", "web", "-n", space, "-p", patch)
        bench.install("web", make(DEPLOYMENT.format(tier="b", app="web", image="web:2")), options)
        found = bench.get("deployment", "web", "-n", space)
        assert found["spec"]["replicas"] == 5
        assert found["metadata"]["labels"]["tier"] == "mine"
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
        assert found["metadata"]["uid"] == uid
        (kept,) = bench.kept("web")
        assert (kept["spec"]["replicas"], kept["metadata"]["labels"]["tier"]) == (1, "b")
        scale(bench, space, 7, "kube-controller-manager")
        bench.again("web")
        assert bench.get("deployment", "web", "-n", space)["spec"]["replicas"] == 7

    @pytest.mark.parametrize("style", STYLES)
    def test_a_person_who_scales_is_no_autoscaler(self, bench: Workbench, style: str) -> None:
        """Git wins on what it states."""
        space, make = f"respect-person-{style}", STYLES[style]
        bench.install(
            "web",
            make(DEPLOYMENT.format(tier="a", app="web", image="web:1")),
            {"defaultNamespace": space},
        )
        scale(bench, space, 5, "kubectl")
        bench.install(
            "web",
            make(DEPLOYMENT.format(tier="a", app="web", image="web:2")),
            {"defaultNamespace": space},
        )
        assert bench.get("deployment", "web", "-n", space)["spec"]["replicas"] == 1

    @pytest.mark.parametrize("style", STYLES)
    def test_an_object_that_is_left_to_itself_stays_as_it_is(
        self, bench: Workbench, style: str
    ) -> None:
        """op ignore: changed, removed and added keys stay; the object beside it follows Git."""
        space, make = f"respect-ignore-{style}", STYLES[style]
        rule = {"kind": "ConfigMap", "name": "theirs", "operations": [{"op": "ignore"}]}
        options = {"defaultNamespace": space, "diff": {"comparePatches": [rule]}}

        def text(value: str) -> str:
            return (
                MAP.format(name="theirs", value=value)
                + f"  b: '{value}'\n---\n"
                + MAP.format(name="ours", value=value)
            )

        bench.install("maps", make(text("1")), options)
        bench.kubectl(
            "patch",
            "cm",
            "theirs",
            "-n",
            space,
            "--type=merge",
            "-p",
            '{"data":{"a":"hand","b":null,"c":"added"}}',
        )
        bench.kubectl(
            "patch", "cm", "ours", "-n", space, "--type=merge", "-p", '{"data":{"a":"hand"}}'
        )
        bench.install("maps", make(text("2")), options)
        assert bench.get("cm", "theirs", "-n", space)["data"] == {"a": "hand", "c": "added"}
        assert bench.get("cm", "ours", "-n", space)["data"] == {"a": "2"}


class TestForce:
    def test_a_run_that_is_cut_off_after_the_deletion_is_finished(self, bench: Workbench) -> None:
        """The object comes back with the next attempt."""
        space, options = "force-cut", {"defaultNamespace": "force-cut", "helm": {"force": True}}
        bench.install(
            "web", {"m.yaml": DEPLOYMENT.format(tier="a", app="web", image="web:1")}, options
        )
        with cut_off_at("object-deleted"):
            bench.install(
                "web", {"m.yaml": DEPLOYMENT.format(tier="a", app="new", image="web:1")}, options
            )
        assert not bench.exists("deployment", "web", "-n", space)
        bench.again("web")
        assert bench.get("deployment", "web", "-n", space)["spec"]["selector"] == {
            "matchLabels": {"app": "new"}
        }

    def test_a_field_that_cannot_be_changed_is_one_clear_line(self, bench: Workbench) -> None:
        """Object, field, and what would help; what ran goes on running."""
        space = "force-not"
        bench.install(
            "web",
            {"m.yaml": DEPLOYMENT.format(tier="a", app="web", image="web:1")},
            {"defaultNamespace": space},
        )
        uid = bench.uid("deployment", "web", "-n", space)
        with pytest.raises(ImmutableField) as caught:
            bench.install(
                "web",
                {"m.yaml": DEPLOYMENT.format(tier="a", app="new", image="web:1")},
                {"defaultNamespace": space},
            )
        assert caught.value.summary == (
            f"Deployment {space}/web: spec.selector: field is immutable; with helm.force:"
            " true the agent would delete and create the object"
        )
        assert bench.uid("deployment", "web", "-n", space) == uid

    def test_force_makes_only_the_refused_object_anew(self, bench: Workbench) -> None:
        """The others keep their uid; the history has no failed record of it."""
        space, options = (
            "force",
            {"defaultNamespace": "force", "helm": {"force": True, "maxHistory": 5}},
        )
        files = {
            "m.yaml": DEPLOYMENT.format(tier="a", app="web", image="web:1"),
            "n.yaml": MAP.format(name="beside", value=1),
        }
        bench.install("web", files, options)
        uids = [
            bench.uid(kind, name, "-n", space)
            for kind, name in (("deployment", "web"), ("cm", "beside"))
        ]
        bench.install(
            "web",
            {**files, "m.yaml": DEPLOYMENT.format(tier="a", app="new", image="web:1")},
            options,
        )
        now = [
            bench.uid(kind, name, "-n", space)
            for kind, name in (("deployment", "web"), ("cm", "beside"))
        ]
        assert now[0] != uids[0]
        assert now[1] == uids[1]
        assert bench.get("deployment", "web", "-n", space)["spec"]["selector"] == {
            "matchLabels": {"app": "new"}
        }

    def test_what_holds_data_is_never_made_anew(self, bench: Workbench) -> None:
        """Not even by force."""
        space = "force-data"
        claim = (
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data}}\nspec:"
            " {{accessModes: [ReadWriteOnce], storageClassName: {0}, resources: {{requests:"
            " {{storage: 1Gi}}}}}}\n"
        )
        options = {"defaultNamespace": space, "helm": {"force": True}}
        bench.install("data", {"m.yaml": claim.format("a")}, options)
        uid = bench.uid("pvc", "data", "-n", space)
        with pytest.raises(
            ImmutableField,
            match=(
                f"PersistentVolumeClaim {space}/data: spec: .*helm.force does not delete and"
                " create objects that hold data"
            ),
        ):
            bench.install("data", {"m.yaml": claim.format("b")}, options)
        assert bench.uid("pvc", "data", "-n", space) == uid

    def test_another_mistake_deletes_nothing(self, bench: Workbench) -> None:
        """A change that is wrong and one that is immutable: the object stays."""
        space, options = "force-wrong", {"defaultNamespace": "force-wrong", "helm": {"force": True}}
        bench.install(
            "web", {"m.yaml": DEPLOYMENT.format(tier="a", app="web", image="web:1")}, options
        )
        uid = bench.uid("deployment", "web", "-n", space)
        bad = MAP.format(name="Bad_Name", value=1)
        with pytest.raises(ToolFailed, match="ConfigMap"):
            bench.install(
                "web",
                {"m.yaml": DEPLOYMENT.format(tier="a", app="new", image="web:1"), "n.yaml": bad},
                options,
            )
        assert bench.uid("deployment", "web", "-n", space) == uid


def options_of(space: str, **drift: Any) -> dict[str, Any]:
    return {
        "defaultNamespace": space,
        "helm": {"maxHistory": 3},
        "correctDrift": {"enabled": True, **drift},
    }


class TestCorrecting:
    def test_each_correction_is_one_revision_and_the_history_stays_short(
        self, bench: Workbench
    ) -> None:
        """Deleted objects come back; maxHistory counts."""
        space = "correct"
        bench.install("maps", {"m.yaml": MAP.format(name="m", value=1)}, options_of(space))
        for round_ in range(3):
            bench.kubectl("delete", "cm", "m", "-n", space)
            bench.again("maps")
            assert bench.get("cm", "m", "-n", space)["data"] == {"a": "1"}, round_
        assert bench.history("maps", space) == [
            (2, "superseded"),
            (3, "superseded"),
            (4, "deployed"),
        ]

    @pytest.mark.parametrize("keep", [False, True])
    def test_failed_corrections_stay_in_the_history_only_where_they_should(
        self, bench: Workbench, keep: bool
    ) -> None:
        """keepFailHistory."""
        space = f"correct-fail-{keep}".lower()
        bench.install(
            "web",
            {"m.yaml": DEPLOYMENT.format(tier="a", app="web", image="web:1")},
            options_of(space, keepFailHistory=keep),
        )
        replace_by_hand(bench, space)
        with pytest.raises(ImmutableField, match=f"Deployment {space}/web: spec.selector"):
            bench.again("web")
        assert bench.history("web", space) == [(1, "deployed"), (2, "failed")][: 2 if keep else 1]

    def test_force_brings_back_what_somebody_put_in_its_place(self, bench: Workbench) -> None:
        """correctDrift.force makes the object anew where it cannot be changed back."""
        space = "correct-force"
        bench.install(
            "web",
            {"m.yaml": DEPLOYMENT.format(tier="a", app="web", image="web:1")},
            options_of(space, force=True),
        )
        replace_by_hand(bench, space)
        bench.again("web")
        assert bench.get("deployment", "web", "-n", space)["spec"]["selector"] == {
            "matchLabels": {"app": "web"}
        }
        assert bench.history("web", space) == [(1, "superseded"), (2, "deployed")]


def replace_by_hand(bench: Workbench, space: str) -> None:
    """Another Deployment of that name, with helm's marks, whose selector cannot be changed back."""
    bench.kubectl("delete", "deployment", "web", "-n", space)
    bench.kubectl(
        "apply",
        "-n",
        space,
        "-f",
        "-",
        stdin=DEPLOYMENT.format(tier="a", app="other", image="web:1"),
    )
    marks = ("meta.helm.sh/release-name=web", f"meta.helm.sh/release-namespace={space}")
    bench.kubectl("annotate", "deployment", "web", "-n", space, *marks)
    bench.kubectl("label", "deployment", "web", "-n", space, "app.kubernetes.io/managed-by=Helm")
