"""A kustomization that tries to load something from outside its bundle."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import RenderFailed, UsageError
from fleetctl.core.model.ids import BundleName, ClusterName, Workspace
from fleetctl.core.model.options import KustomizeOptions, Options
from fleetctl.core.rendering.kustomization import problems
from fleetctl.core.rendering.render import plan
from fleetctl.core.rendering.values import ClusterFacts
from fleetctl.tools import find, process
from fleetctl.tools.kustomize import Kustomize, require

URL = "http://127.0.0.1:9/x.yaml"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
HASH = "apiVersion: builtin\nkind: HashTransformer\nmetadata: {name: h}\n"
FACTS = ClusterFacts(cluster=ClusterName("c"), workspace=Workspace("w"))
ADDRESSES = (
    URL,
    "HTTPS://example.com/x.yaml",
    " http://example.com/x",
    "http:/x.yaml",
    "file:///etc/passwd",
    "git::https://example.com/x",
    "git::bob@example.com:evil/repo.git//x",
    "bob@example.com:evil/repo",
    "example.com:evil/repo",
    "ssh://example.com/x",
    "github.com/evil/repo",
    "GitHub.com/evil/repo",
    "gh:evil/repo",
    "evil.git",
    "evil.git/sub",
    "x?ref=main",
    "/etc/passwd",
    "../../../etc/passwd",
    "..",
    "missing.yaml",
    "",
)
FIELDS = {
    "resources": "resources: [{}]",
    "folded key": "RESOURCES: [{}]",
    "long s": "re\u017fources: [{}]",
    "bases": "bases: [{}]",
    "components": "components: [{}]",
    "crds": "crds: [{}]",
    "configurations": "configurations: [{}]",
    "generators": "generators: [{}]",
    "transformers": "transformers: [{}]",
    "validators": "validators: [{}]",
    "strategic": "patchesStrategicMerge: [{}]",
    "old patches": "patches: [{}]",
    "patches": "patches: [{{path: {}}}]",
    "json patches": "patchesJson6902: [{{target: {{kind: Pod, name: x}}, path: {}}}]",
    "replacements": "replacements: [{{Path: {}}}]",
    "openapi": "openapi: {{path: {}}}",
    "files": "configMapGenerator: [{{name: x, files: [{}]}}]",
    "files with a key": "configMapGenerator: [{{name: x, files: [{}]}}]",
    "secret files": "secretGenerator: [{{name: x, files: [{}]}}]",
    "envs": "configMapGenerator: [{{name: x, envs: [{}]}}]",
    "env": "secretGenerator: [{{name: x, env: {}}}]",
}
_MAY_BE_EMPTY = {"patches", "json patches", "replacements", "openapi", "env"}
PLUGINS = {
    "files": "kind: ConfigMapGenerator\nmetadata: {name: x}\nfiles: [URL]",
    "folded": "kind: ConfigMapGenerator\nmetadata: {name: x}\nFILES: [URL]",
    "envs": "kind: SecretGenerator\nmetadata: {name: x}\nenvs: [URL]",
    "patch": "kind: PatchTransformer\nmetadata: {name: x}\npath: URL",
    "json": "kind: PatchJson6902Transformer\nmetadata: {name: x}\npath: URL",
    "strategic": "kind: PatchStrategicMergeTransformer\nmetadata: {name: x}\npaths: [URL]",
    "replacement": "kind: ReplacementTransformer\nmetadata: {name: x}\nreplacements: [{path: URL}]",
    "chart": "kind: HelmChartInflationGenerator\nmetadata: {name: x}\nrepo: URL",
    "unknown": "kind: Download\nmetadata: {name: x}",
    "function": (
        "kind: LabelTransformer\nmetadata: {name: x, annotations: {config.kubernetes.io/function:"
        " 'container: {image: x}'}}"
    ),
}


def build_plan(files: dict[str, str], folder: str = "") -> None:
    """What an agent, a preview and the plan of the manager do first."""
    options = Options(kustomize=KustomizeOptions(dir=folder)) if folder else Options()
    tree = {path: File(text.encode()) for path, text in files.items()}
    plan(tree, options, FACTS, bundle=BundleName("b"))


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_takes_files_of_the_bundle_only(field: str) -> None:
    """Every form of address, every path that leaves the bundle, and every file that is not
    there.
    """
    for address in ADDRESSES:
        if address == "" and field in _MAY_BE_EMPTY:
            continue
        text = FIELDS[field].format(
            json.dumps(f"a={address}" if field == "files with a key" else address)
        )
        with pytest.raises(UsageError, match=r"which is not in the bundle|does not run here"):
            build_plan({"kustomization.yaml": text, "a.yaml": MAP})


@pytest.mark.parametrize("name", PLUGINS)
def test_plugin_documents_take_files_of_the_bundle_only(name: str) -> None:
    """In a file, in the kustomization itself, in a list and in a folder."""
    document = f"apiVersion: builtin\n{PLUGINS[name]}\n".replace("URL", URL)
    listed = "apiVersion: v1\nkind: List\nitems:\n- " + document.strip().replace("\n", "\n  ")
    for key in ("generators", "transformers", "validators"):
        for files in (
            {"kustomization.yaml": f"{key}: [g.yaml]", "g.yaml": document},
            {"kustomization.yaml": f"{key}: [g.yaml]", "g.yaml": f"{HASH}---\n{document}"},
            {"kustomization.yaml": f"{key}: [g.yaml]", "g.yaml": listed},
            {"kustomization.yaml": f"{key}: [{json.dumps(document)}]"},
            {
                "kustomization.yaml": f"{key}: [g]",
                "g/kustomization.yaml": "resources: [g.yaml]",
                "g/g.yaml": document,
            },
        ):
            with pytest.raises(UsageError, match=r"which is not in the bundle|does not run here"):
                build_plan(files)


def test_a_file_whose_name_is_an_address_is_no_excuse() -> None:
    """kustomize takes the text for an address before it looks for a file."""
    for address in ("http:/h/x", "github.com/o/r", "u@h:o/r", "x.git/sub", "a?ref=b"):
        with pytest.raises(UsageError, match="not in the bundle"):
            build_plan(
                {
                    "kustomization.yaml": f"resources: ['{address}']",
                    address: MAP,
                    f"{address}/kustomization.yaml": "",
                }
            )
    document = "{apiVersion: builtin, kind: ConfigMapGenerator, files: ['http://127.0.0.1:9/x']}"
    with pytest.raises(UsageError, match="not in the bundle"):
        build_plan({"kustomization.yaml": f"generators: [{json.dumps(document)}]", document: MAP})


def test_plugin_documents_are_not_changed_after_the_check() -> None:
    """A folder of plugin documents that patches them could write any path into them."""
    generator = (
        "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: x}\nfiles: [a.yaml]\n"
    )
    files = {"a.yaml": MAP, "g/g.yaml": generator, "kustomization.yaml": "generators: [g]"}
    build_plan({**files, "g/kustomization.yaml": "resources: [g.yaml]"})
    with pytest.raises(UsageError, match="cannot change them"):
        build_plan(
            {
                **files,
                "g/kustomization.yaml": (
                    "resources: [g.yaml]\npatches: [{patch: '[]', target: {kind: X}}]"
                ),
            }
        )


@pytest.mark.parametrize(
    "key", ["helmCharts", "helmGlobals", "HELMCHARTS", "helmChartInflationGenerator"]
)
def test_charts_in_a_kustomization_are_refused(key: str) -> None:
    """Fleet runs kustomize without --enable-helm."""
    with pytest.raises(UsageError, match=r"kustomization.yaml:2: .*Fleet does not enable that"):
        build_plan(
            {"kustomization.yaml": f"resources: [a.yaml]\n{key}: [{{name: x}}]", "a.yaml": MAP}
        )


def test_what_the_chosen_folder_does_not_reach_is_not_judged() -> None:
    """Another overlay, a folder of no use, and a chart's template of that name."""
    files = {
        "base/kustomization.yaml": "resources: [a.yaml]",
        "base/a.yaml": MAP,
        "overlays/dev/kustomization.yaml": "resources: [../../base]\ncomponents: [../../parts/]",
        "overlays/prod/kustomization.yaml": f"resources: [../../base, '{URL}']",
        "parts/kustomization.yml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1",
        "chart/templates/kustomization.yaml": "{{ not yaml",
    }
    build_plan(files, "overlays/dev")
    with pytest.raises(
        UsageError, match=r"overlays/prod/kustomization.yaml:1: resources\[1\] names"
    ):
        build_plan(files, "overlays/prod")
    with pytest.raises(UsageError, match="overlays/prod"):
        build_plan(
            {**files, "base/kustomization.yaml": "bases: [../overlays/prod]"}, "overlays/dev"
        )


def test_every_place_is_named_with_its_line() -> None:
    """All of them at once, for `fleetctl validate`; a login in an address is cut."""
    text = (
        "resources:\n- a.yaml\n- https://u:hidden@h/x\nconfigMapGenerator:\n- name: x\n  files:\n "
        " - b=c\n"
    )
    found = [
        str(p)
        for p in problems({"kustomization.yaml": File(text.encode()), "a.yaml": File(b"")}, "")
    ]
    assert found == [
        "kustomization.yaml:3: resources[1] names https://***@h/x, which is not in the bundle",
        "kustomization.yaml:7: configMapGenerator[0].files[0] names c, which is not in the bundle",
    ]


class _Canary(HTTPServer):
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Canary)
        self.server.requests += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(MAP.encode())

    def log_message(self, *_: object) -> None:
        """Keeps the test's output empty."""


@pytest.mark.parametrize("isolated", [True, False])
def test_kustomize_itself_reaches_no_network(
    isolated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second line of defence: by a network namespace, and without one by proxies that answer
    nobody.
    """
    if not isolated:
        monkeypatch.setattr(process, "without_network", lambda: ())
    loopback = isolated and bool(process.without_network())
    server = _Canary(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Go never asks a proxy for a loopback address, so only the namespace protects one.
    host = f"127.0.0.1:{server.server_port}" if loopback else "example.com"
    try:
        tool = require(Kustomize(find.kustomize() or ()))
        for at, resource in enumerate(
            (f"http://{host}/x", f"git::bob@{host.partition(':')[0]}:evil/repo.git//x")
        ):
            folder = tmp_path / str(at)
            folder.mkdir()
            (folder / "kustomization.yaml").write_text(f"resources: ['{resource}']")
            with pytest.raises(RenderFailed):
                asyncio.run(tool.build(folder, deadline=30))
        assert server.requests == 0
    finally:
        server.shutdown()
        server.server_close()
