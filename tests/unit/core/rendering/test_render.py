"""Style, release, values and the bytes of raw manifests."""

from __future__ import annotations

import msgspec
import pytest

from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import InvalidFile, UsageError
from fleetctl.core.model.ids import BundleName, ClusterName, Workspace
from fleetctl.core.model.options import HelmOptions, KustomizeOptions, Options, YamlOptions
from fleetctl.core.rendering.render import RenderPlan, Style, manifests, plan
from fleetctl.core.rendering.values import ClusterFacts

FACTS = ClusterFacts(
    cluster=ClusterName("dev"), workspace=Workspace("fleet-default"), labels={"env": "dev"}
)
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  mode: 0644\n  answer: no\n"


def made(files: dict[str, str], options: Options = Options()) -> RenderPlan:  # noqa: B008 - frozen
    return plan(
        {p: File(t.encode()) for p, t in files.items()}, options, FACTS, bundle=BundleName("b")
    )


class TestStyle:
    @pytest.mark.parametrize(
        ("files", "style"),
        [
            (["a.yaml"], Style.RAW),
            (["Chart.yaml"], Style.HELM),
            (["kustomization.yaml"], Style.KUSTOMIZE),
            (["Chart.yaml", "kustomization.yml"], Style.BOTH),
        ],
    )
    def test_it_follows_from_the_files(self, files: list[str], style: Style) -> None:
        """A Chart.yaml, a kustomization, both, or neither."""
        assert made(dict.fromkeys(files, "name: x\n")).style is style

    def test_a_kustomize_dir_without_a_kustomization_is_an_error(self) -> None:
        """It is named, instead of deploying something else."""
        with pytest.raises(UsageError, match=r"overlays/dev holds no kustomization"):
            made({"a.yaml": MAP}, Options(kustomize=KustomizeOptions(dir="overlays/dev")))

    def test_remote_bases_are_refused(self) -> None:
        """Only what is in the bundle is read."""
        with pytest.raises(UsageError, match="not in the bundle"):
            made({"kustomization.yaml": "resources:\n- https://github.com/x/y?ref=main\n"})


class TestRaw:
    def test_bytes_pass_as_they_are(self) -> None:
        """Nothing is re-serialised: other parsers read 0644 and no in other ways."""
        assert MAP.strip().encode() in manifests(made({"a.yaml": MAP}).files)

    def test_what_is_no_object_is_left_out(self) -> None:
        """Values files, comments, other text, and everything that belongs to a chart inside."""
        files = {
            "values.yaml": "a: 1\n",
            "note.yaml": "# only this\n",
            "README.md": "x",
            "c/Chart.yaml": "name: c\n",
            "c/t.yaml": "{{ x }}",
        }
        assert manifests(made(files).files) == b""

    def test_documents_of_one_file_are_told_apart(self) -> None:
        """Objects stay, the rest goes, whatever separators look like."""
        text = manifests(made({"a.yaml": f"--- # first\n{MAP}---\nfoo: bar\n---\n{MAP}"}).files)
        assert text.count(b"kind: ConfigMap") == 2
        assert b"foo" not in text

    def test_a_broken_file_is_named_with_its_line(self) -> None:
        """Before anything reaches the cluster."""
        with pytest.raises(InvalidFile, match=r"a\.yaml:3"):
            manifests(made({"a.yaml": "apiVersion: v1\nkind: [\n"}).files)

    @pytest.mark.parametrize(
        "text",
        [
            '{"title": "CPU", "uid": "\\\\ud83d\\\\ude00"}',
            "// settings\n{}\n",
            "a: [\n",
            "{% for x in y %}\n",
            "- hosts: all\n  vars: {p: !vault x}\n",
            "apiVersion: 1\nproviders: []\n",
            "apiVersion: 1\nkind: 2\n",
        ],
    )
    def test_a_file_that_holds_no_object_stops_nothing(self, text: str) -> None:
        """Dashboards, playbooks, settings with comments: what is not deployed need not be YAML."""
        assert manifests(made({"a.yaml": MAP, "other.json": text}).files).count(b"kind:") == 1

    @pytest.mark.parametrize(
        ("meta", "words"),
        [
            ("{}", "ConfigMap has no metadata.name"),
            (
                "{generateName: x-}",
                "ConfigMap has metadata.generateName, which Helm does not support",
            ),
        ],
    )
    def test_an_object_without_a_name_is_named_with_its_line(self, meta: str, words: str) -> None:
        """Helm would refuse it with `resource name may not be empty`."""
        text = f"{MAP}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {meta}\n"
        with pytest.raises(InvalidFile, match=rf"a\.yaml:\d+:1: {words}"):
            manifests(made({"a.yaml": text}).files)

    def test_overlays_replace_add_and_patch(self) -> None:
        """The same path, a new one, and `_patch`."""
        over = Options(yaml=YamlOptions(overlays=["big"]))
        files = {
            "a.yaml": MAP,
            "overlays/big/a_patch.yaml": "data:\n  size: '9'\n",
            "overlays/big/new.yaml": MAP,
            "overlays/no/x.yaml": MAP,
        }
        laid = made(files, over).files
        assert set(laid) == {"a.yaml", "new.yaml"}
        assert b"size: '9'" in laid["a.yaml"].data or b'size: "9"' in laid["a.yaml"].data


class TestValues:
    def test_a_value_may_name_a_label(self) -> None:
        """At any depth; one that the cluster has not got is empty, as in Fleet."""
        helm = HelmOptions(
            values={
                "env": "global.fleet.clusterLabels.env",
                "l": [{"r": "global.fleet.clusterLabels.region"}],
                "n": 1,
            }
        )
        values = msgspec.json.decode(made({"Chart.yaml": "name: c\n"}, Options(helm=helm)).values)
        assert values == {"env": "dev", "l": [{"r": ""}], "n": 1}
