"""A forced namespace: what is moved, and what is refused with one line, before helm hears of it."""

from __future__ import annotations

import io
import tarfile

import pytest

from fleetctl.core.formats.yaml import load_all
from fleetctl.core.model.errors import UsageError
from fleetctl.tools.chart_builder.examine import crds_of
from fleetctl.tools.post_renderer import Changes, change_objects

SCOPES = {
    "v1/ConfigMap": True,
    "v1/Namespace": False,
    "rbac.authorization.k8s.io/v1/ClusterRole": False,
    "example.org/v1/Here": True,
    "example.org/v1/Everywhere": False,
}
CONFINED = Changes(namespace="web", confined=True, scopes=SCOPES)
FORCED = Changes(namespace="web", scopes=SCOPES)
ROLE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reader}\n"


def moved(text: str, changes: Changes) -> list[tuple[str, str]]:
    return [
        (d["kind"], d["metadata"].get("namespace", ""))
        for d in load_all(change_objects(text.encode(), changes))
    ]


def refused(text: str, changes: Changes) -> str:
    with pytest.raises(UsageError) as caught:
        change_objects(text.encode(), changes)
    return caught.value.summary


@pytest.mark.parametrize("changes", [CONFINED, FORCED])
def test_objects_are_moved(changes: Changes) -> None:
    """Those of another namespace; what says none, helm puts into the release's."""
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: kube-system}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n---\n"
        "apiVersion: example.org/v1\nkind: Here\nmetadata: {name: c, namespace: x}\n"
    )
    assert moved(text, changes) == [("ConfigMap", "web"), ("ConfigMap", ""), ("Here", "web")]


@pytest.mark.parametrize(
    "text",
    [
        ROLE,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n",
        "apiVersion: example.org/v1\nkind: Everywhere\nmetadata: {name: reader}\n",
        (
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:"
            f" [{{{ROLE.strip().replace(chr(10), ', ')}}}]\n"
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nitems:"
            f" [{{{ROLE.strip().replace(chr(10), ', ')}}}]\n"
        ),
        (
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleList\nitems: [{metadata:"
            " {name: reader}}]\n"
        ),
    ],
)
@pytest.mark.parametrize("changes", [CONFINED, FORCED])
def test_what_has_no_namespace_is_refused(text: str, changes: Changes) -> None:
    """By the cluster's word for the kind, in lists of lists, in what only looks like no list, and
    in a list whose items say no kind.
    """
    said = refused(text, changes)
    assert "is cluster-scoped" in said
    assert "namespace web" in said
    assert "\n" not in said


def test_the_line_names_the_object_the_hook_and_the_rule() -> None:
    """One line that a person can act on."""
    hook = ROLE.replace(
        "{name: reader}", '{name: reader, annotations: {"helm.sh/hook": pre-install}}'
    )
    wanted = (
        "ClusterRole reader (a hook) is cluster-scoped: the GitRepo's targetNamespace keeps"
        " everything of the bundle in namespace web"
    )
    assert refused(hook, CONFINED) == wanted


def test_a_kind_that_the_cluster_does_not_know() -> None:
    """Nobody can say where it would go: refused where nothing may get out, and left to helm where a
    fleet.yaml forces the namespace.
    """
    text = "apiVersion: example.org/v1\nkind: New\nmetadata: {name: n}\n"
    assert "does not know" in refused(text, CONFINED)
    assert moved(text, FORCED) == [("New", "")]


def test_without_a_cluster_kubernetes_own_kinds_are_judged() -> None:
    """In a preview, and where manifests go into a directory."""
    assert "cluster-scoped" in refused(ROLE, Changes(namespace="web"))
    assert moved(
        "apiVersion: example.org/v1\nkind: New\nmetadata: {name: n, namespace: x}\n",
        Changes(namespace="web"),
    ) == [("New", "web")]
    assert "no cluster was asked" in refused(
        "apiVersion: example.org/v1\nkind: New\nmetadata: {name: n}\n",
        Changes("web", confined=True),
    )


def test_what_was_judged_is_what_helm_reads() -> None:
    """Two parsers may read one text in two ways: under a GitRepo's namespace the text is written
    anew.
    """
    text = (
        "# ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {n: '0644', y: 'no'}\n"
    )
    made = change_objects(text.encode(), CONFINED)
    assert b"#" not in made
    assert load_all(made) == load_all(text)
    assert change_objects(text.encode(), FORCED).endswith(text.strip().encode() + b"\n")


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_the_crds_of_a_chart_are_found() -> None:
    """helm installs them before it renders: the chart's, its subcharts', and those in packed
    ones.
    """
    inner = packed({"b/crds/x.yaml": b"kind: X", "b/templates/crds.yaml": b""})
    outer = packed({"a/Chart.yaml": b"", "a/charts/b.tgz": inner})
    files = {
        "Chart.yaml": b"",
        "templates/a.yaml": b"",
        "charts/a.tgz": outer,
        "charts/c/crds/y.yaml": b"",
    }
    assert crds_of(files) == ["charts/a.tgz: charts/b.tgz: crds/x.yaml", "charts/c/crds/y.yaml"]
    assert crds_of({"crds/README.md": b"", "templates/crds-of-mine.yaml": b""}) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"nothing", "is not a gzipped tar"),
        (packed({"a\\crds\\x.yaml": b"kind: X"}), "backslash"),
        (packed({"a/x": b""}) + packed({"a/crds/x.yaml": b"kind: X"}), "after the end"),
        (packed({"a/crds/x.yaml": bytes(65 * 1024 * 1024)}), "unpacks to more than"),
    ],
    ids=["no archive", "backslash", "two members", "too large"],
)
def test_a_packed_subchart_that_cannot_be_read_may_hold_crds(data: bytes, reason: str) -> None:
    """helm reads some archives otherwise than we do; under a target namespace they are refused."""
    (found,) = crds_of({"charts/bad.tgz": data})
    assert found.startswith("charts/bad.tgz (it ")
    assert reason in found


def test_archives_inside_archives_share_one_budget() -> None:
    """Ten subcharts that unpack to 10 MiB each are more than a chart may have."""
    part = packed({"a/crds/x.yaml": bytes(10 * 1024 * 1024)})
    outer = packed({"b/Chart.yaml": b"", **{f"b/charts/a{at}.tgz": part for at in range(10)}})
    assert any("unpacks to more than" in found for found in crds_of({"charts/b.tgz": outer}))


def test_packed_charts_are_read_to_a_limited_depth() -> None:
    data = packed({"a/crds/x.yaml": b""})
    for _ in range(6):
        data = packed({"a/charts/a.tgz": data})
    assert "packed into too many other charts" in crds_of({"charts/a.tgz": data})[0]
