"""Manifests that server-side apply refuses and every other way takes: duplicate list entries,
fields that no schema declares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetctl.core.model.errors import ToolFailed, UsageError
from tests.integration.deploy.test_apply import MAP, custom, definition
from tests.localkube.kubeapi import LocalKube
from tests.support.agent.workbench import Workbench

pytestmark = pytest.mark.cluster
CHART = "apiVersion: v2\nname: c\nversion: 0.1.0\n"
TWICE = [{"name": "PORT", "value": "80"}, {"name": "PORT", "value": "8080"}]


@pytest.fixture
def bench(tmp_path: Path, kube: LocalKube, tool_env: dict[str, str]) -> Workbench:
    return Workbench(tmp_path / "agent", kube["dev"].kubeconfig, tool_env)


def deployment(image: str = "example.com/web:1", **container: Any) -> str:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image, **container}]},
    }
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    return json.dumps(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    )


def container(bench: Workbench, space: str) -> dict[str, Any]:
    found: dict[str, Any] = bench.get("deployment", "web", "-n", space)["spec"]["template"]["spec"][
        "containers"
    ][0]
    return found


def managers(bench: Workbench, space: str) -> set[tuple[str, str]]:
    """(manager, operation) of helm's on the Deployment."""
    found = bench.get("deployment", "web", "-n", space, "--show-managed-fields")["metadata"][
        "managedFields"
    ]
    return {(one["manager"], one["operation"]) for one in found if one["manager"] == "helm"}


@pytest.mark.parametrize(
    "asked", [{}, {"force": True}, {"takeOwnership": True}, {"atomic": True, "timeoutSeconds": 60}]
)
def test_duplicate_entries_are_deployed_and_told(bench: Workbench, asked: dict[str, Any]) -> None:
    """Installed, upgraded, corrected; when the duplicates go, the release is server-side again, and
    fields that go from Git go.
    """
    space = f"form-{next(iter(asked), 'plain').lower()}"
    options = {"defaultNamespace": space, "helm": asked}
    files = {
        "m.yaml": MAP.format(name="rest", value=1),
        "d.yaml": deployment(env=TWICE, workingDir="/a"),
    }
    bench.install("app", files, options)
    assert container(bench, space)["env"] == TWICE
    (told,) = bench.journal["app"].client_side
    assert told.startswith(f"Deployment {space}/web: ")
    assert 'env: duplicate entries for key [name="PORT"]' in told
    bench.install("app", files | {"d.yaml": deployment("example.com/web:2", env=TWICE)}, options)
    assert bench.history("app", space)[-1][1] == "deployed"
    assert container(bench, space)["image"] == "example.com/web:2"
    assert "workingDir" not in container(bench, space)
    # what cannot be changed is made anew, as in a release that is server-side
    if asked.get("force"):
        uid = bench.uid("deployment", "web", "-n", space)
        bench.install(
            "app",
            files | {"d.yaml": deployment(env=TWICE).replace('"app": "web"', '"app": "new"')},
            options,
        )
        assert bench.uid("deployment", "web", "-n", space) != uid
        bench.install("app", files | {"d.yaml": deployment(env=TWICE)}, options)
    clean = deployment("example.com/web:3", env=TWICE[1:], workingDir="/b")
    bench.install("app", files | {"d.yaml": clean}, options)
    assert bench.journal["app"].client_side == ()
    bench.install(
        "app", files | {"d.yaml": deployment("example.com/web:4", env=TWICE[1:])}, options
    )
    assert container(bench, space)["env"] == TWICE[1:]
    assert "workingDir" not in container(bench, space)
    assert managers(bench, space) == {("helm", "Apply")}


def test_fields_that_no_schema_declares_are_dropped_and_told(bench: Workbench) -> None:
    """Of built-in kinds and of custom resources, in a chart and in a hook; each object and field is
    named.
    """
    space, group = "form-fields", "fields.example.com"
    bench.install("def", {"d.yaml": definition("Lamp", group, "size")}, {"defaultNamespace": space})
    hook = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "hook", "annotations": {"helm.sh/hook": "pre-install"}},
        "dta": {},
    }
    files = {
        "Chart.yaml": CHART,
        "templates/d.yaml": deployment(imagepullpolicy="Always"),
        "templates/l.yaml": custom("Lamp", group, size="big", colour="red"),
        "templates/m.yaml": MAP.format(name="rest", value=1),
        "templates/h.yaml": json.dumps(hook),
    }
    bench.install("app", files, {"defaultNamespace": space})
    assert "imagepullpolicy" not in container(bench, space)
    assert bench.get("lamp", "one", "-n", space)["spec"] == {"size": "big"}
    told = sorted(bench.journal["app"].client_side)
    assert [text.partition(": ")[0] for text in told] == [
        f"Deployment {space}/web",
        f"Lamp {space}/one",
    ]
    assert "imagepullpolicy: field not declared in schema" in told[0]
    bench.remove("app")
    assert not bench.exists("lamp", "one", "-n", space)


def test_a_definition_with_fields_that_no_schema_declares(bench: Workbench) -> None:
    """As generators of some years ago wrote them."""
    group, space = "old.example.com", "form-definition"
    for size in ("size", "size colour"):
        new = json.loads(definition("Bulb", group, size))
        new["spec"]["preserveUnknownField"] = False
        bench.install(
            "app",
            {"d.yaml": json.dumps(new), "b.yaml": custom("Bulb", group, size="big")},
            {"defaultNamespace": space},
        )
    assert bench.get("bulb", "one", "-n", space)["spec"] == {"size": "big"}
    schema = bench.get("crd", f"bulbs.{group}")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert sorted(schema["properties"]["spec"]["properties"]) == ["colour", "size"]


def test_what_no_way_of_applying_takes_names_the_field(bench: Workbench) -> None:
    """A wrong type: the fallback is refused too, in words without a path; the first refusal has
    it.
    """
    wrong = json.loads(deployment())
    wrong["spec"]["replicas"] = "three"
    with pytest.raises(
        ToolFailed, match=r"Deployment form-wrong/web: \.spec\.replicas: expected numeric"
    ):
        bench.install("app", {"d.yaml": json.dumps(wrong)}, {"defaultNamespace": "form-wrong"})


@pytest.mark.parametrize("chart", [True, False])
def test_metadata_that_cannot_be_decoded_names_the_object(bench: Workbench, chart: bool) -> None:
    """helm's own message has the field of the Go type only."""
    wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {on: yes}}\n"
    files = {"Chart.yaml": CHART, "templates/m.yaml": wrong} if chart else {"m.yaml": wrong}
    with pytest.raises(
        UsageError, match=r"ConfigMap a: metadata\.labels\.\S+ is true and must be a string"
    ):
        bench.install("app", files, {"defaultNamespace": "form-metadata"})
