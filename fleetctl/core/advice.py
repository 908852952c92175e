"""What a fleet.yaml says without effect, or with another one than it seems: the rules behind the warnings of `lint.py`.

Rule: each of them looks at what one place states (the top level, or one customization) together with what holds there (the customization
laid over the top level), and speaks only of keys that this place itself states, so that nothing is said twice. Values may be of any type:
wrong ones are reported elsewhere and count as not stated here.
"""

from __future__ import annotations

import difflib
import posixpath
import re
import warnings
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from fleetctl.core.cluster import matches
from fleetctl.core.errors import UsageError
from fleetctl.core.ids import is_name
from fleetctl.core.options import merge_values
from fleetctl.core.schema import documents
from fleetctl.core.shape import Path
from fleetctl.core.stream import KUSTOMIZATIONS

Advice = tuple[str, Path, str, str]  # code, key, summary, next step
_CRITERIA = ("clusterName", "clusterSelector", "clusterGroup", "clusterGroupSelector")
_PROTECTED = frozenset({"default", "kube-system", "kube-public"})
_LABEL = "global.fleet.clusterLabels."
_PATCH = re.compile(r"(.*)_patch(\.[^./]+)")
_LONGEST_PATTERN = 500


class _Layer(NamedTuple):
    """`own` is what this place states, `all` what holds there; `files` of the bundle, None when not known."""

    prefix: Path
    own: dict[str, Any]
    all: dict[str, Any]
    files: frozenset[str] | None

    def helm(self, key: str) -> Any:
        return _map(self.all.get("helm")).get(key)

    def own_helm(self, key: str) -> Any:
        return _map(self.own.get("helm")).get(key)

    @property
    def is_custom(self) -> bool:
        return bool(self.prefix)


def advice(document: dict[str, Any], files: frozenset[str] | None) -> Iterator[Advice]:
    """Everything that is worth saying of one fleet.yaml, in no order. files: of the bundle's folder, None when not known."""
    layers = [_Layer((), document, document, files)]
    for key in ("targets", "targetCustomizations"):
        for at, item in enumerate(_list(document.get(key))):
            if isinstance(item, dict):
                layers.append(_Layer((key, at), item, _laid(document, item), files))
    for layer in layers:
        for rule in _LAYER_RULES:
            yield from rule(layer)
    yield from _shadowed(document)
    yield from _names_twice(document)
    yield from _depends_on_itself(document)
    yield from _selectors(document, ())
    if document.get("targets"):
        step = "Write `overrideTargets` to choose the clusters, or `targetCustomizations` for what is different on some."
        yield "targets-in-file", ("targets",), "`targets` does not choose who gets the bundle", step


def _laid(document: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    stated = {key: value for key, value in item.items() if value is not None}
    laid = merge_values(document, stated)
    for key in ("correctDrift",):
        if key in stated:
            laid[key] = stated[key]
    both = [*_list(_map(document.get("yaml")).get("overlays")), *_list(_map(item.get("yaml")).get("overlays"))]
    return laid | ({"yaml": {"overlays": both}} if both else {})


def _chart(layer: _Layer) -> Iterator[Advice]:
    chart, repo = (_text(layer.helm(key)) for key in ("chart", "repo"))
    is_remote = bool(repo) or "://" in chart
    if _text(layer.own_helm("repo")) and not chart:
        yield "repo-without-chart", _at(layer, "helm", "repo"), "`helm.repo` without `helm.chart` names no chart", "Write the chart's name."
    if _text(layer.own_helm("version")) and not repo and not chart.startswith("oci://"):
        what = "which comes as it is from its address" if is_remote else "which lies in the bundle"
        step = "Remove it, or name the chart's repository in `helm.repo`."
        yield "version-without-repo", _at(layer, "helm", "version"), f"`helm.version` has no effect on a chart {what}", step
    if _text(layer.own_helm("chart")) and not is_remote and layer.files is not None:
        folder = _inside(chart)
        if folder is not None and _join(folder, "Chart.yaml") not in layer.files:
            step = "Correct the path, or name the chart's repository in `helm.repo`."
            yield "chart-missing", _at(layer, "helm", "chart"), f"`helm.chart`: {chart} holds no Chart.yaml", step


def _values_files(layer: _Layer) -> Iterator[Advice]:
    named = _list(layer.own_helm("valuesFiles"))
    if named and not layer.is_custom and not _text(layer.helm("chart")):
        step = "For a chart in the bundle's own folder write `chart: .` beside it."
        summary = "`helm.valuesFiles` is not read, because there is no `helm.chart`"
        yield "values-files-without-chart", _at(layer, "helm", "valuesFiles"), summary, step
        return
    for at, name in enumerate(named):
        path = _inside(name) if isinstance(name, str) else None
        if path is not None and layer.files is not None and path not in layer.files:
            place = _at(layer, "helm", "valuesFiles", at)
            yield "values-file-missing", place, f"`helm.valuesFiles`: there is no file {name}", "Correct the path."


def _templates(layer: _Layer) -> Iterator[Advice]:
    off = layer.helm("disablePreProcess") is True
    if off and layer.helm("templateValues") and (layer.own_helm("templateValues") or layer.own_helm("disablePreProcess")):
        key = "templateValues" if layer.own_helm("templateValues") else "disablePreProcess"
        summary = "`helm.templateValues` has no effect with `disablePreProcess: true`"
        yield "templates-switched-off", _at(layer, "helm", key), summary, "Remove one of the two."
    for key in ("values", "templateValues"):
        for path, text in _texts(layer.own_helm(key), _at(layer, "helm", key)):
            if not off and _is_open(text):
                step = "Close it with `}`, or set `helm.disablePreProcess` when the chart's own values look like that."
                yield "template-open", path, "a template begins with `${` and does not end", step
            if key == "values":
                yield from _label(path, text)


def _is_open(text: str) -> bool:
    at = text.rfind("${")
    return at >= 0 and "}" not in text[at:]


def _label(path: Path, text: str) -> Iterator[Advice]:
    if text.startswith(_LABEL) and text != _LABEL:
        return
    step = f"Write `{_LABEL}NAME` and nothing before it."
    if text in {_LABEL, _LABEL[:-1]}:
        yield "cluster-label", path, "the text names no label", step
    elif _LABEL in text:
        step = "Write it alone, or use a template: `${ .ClusterLabels.NAME }`."
        yield "cluster-label", path, f"`{_LABEL}` becomes a label's value only at the beginning of a text", step
    elif text[:1] in "gG" and len(text) < 300 and not any(c.isspace() for c in text):
        head = ".".join([*text.split(".")[:3], ""])
        if text.count(".") >= 2 and difflib.SequenceMatcher(None, head.lower(), _LABEL.lower()).ratio() > 0.8:
            yield "cluster-label", path, f"`{head}` is not `{_LABEL}`, so the text stays as it is", step


def _kustomize(layer: _Layer) -> Iterator[Advice]:
    wanted = _text(_map(layer.own.get("kustomize")).get("dir"))
    folder = _inside(wanted or ".")
    if layer.files is None or folder is None or (layer.is_custom and not wanted):
        return
    found = [name for name in KUSTOMIZATIONS if _join(folder, name) in layer.files]
    place = _at(layer, "kustomize", "dir") if wanted else ()
    if wanted and not found:
        yield "kustomize-dir-missing", place, f"`kustomize.dir`: {wanted} holds no kustomization.yaml", "Correct the path."
    elif found and "kustomization.yaml" not in found:
        summary = f"Rancher Fleet would not find {_join(folder, found[0])}"
        yield "kustomization-name", place, summary, "Name it kustomization.yaml."


def _overlays(layer: _Layer) -> Iterator[Advice]:
    own = _list(_map(layer.own.get("yaml")).get("overlays"))
    if not own or layer.files is None:
        return
    style = _style(layer)
    if style:
        step = "Remove it; what differs between clusters goes into `helm.values` or `kustomize.dir`."
        yield "overlays-without-effect", _at(layer, "yaml", "overlays"), f"`yaml.overlays` has no effect in a bundle with a {style}", step
        return
    laid = {path for path in layer.files if not path.startswith("overlays/")}
    names = [name for name in _list(_map(layer.all.get("yaml")).get("overlays")) if isinstance(name, str)]
    for at, name in enumerate(names):
        prefix, place = f"overlays/{name}/", _at(layer, "yaml", "overlays", at - (len(names) - len(own)))
        mine = {path.removeprefix(prefix) for path in layer.files if path.startswith(prefix)}
        stated = at >= len(names) - len(own)
        if not mine and stated:
            yield "overlay-missing", place, f"`yaml.overlays`: there is no folder {prefix[:-1]}", "Correct the name."
        for path in sorted(mine):
            patch = _PATCH.fullmatch(path)
            if not patch:
                laid.add(path)
            elif patch[1] + patch[2] not in laid and stated:
                summary = f"{prefix}{path} changes {patch[1]}{patch[2]}, which is not there"
                yield "patch-without-target", place, summary, "Correct the file's name."


def _style(layer: _Layer) -> str:
    """What stands between overlays and the bundle's manifests, or ""."""
    chart, files = _text(layer.helm("chart")), layer.files or frozenset()
    folder = _inside(chart or ".")
    if (chart and (_text(layer.helm("repo")) or "://" in chart)) or (folder is not None and _join(folder, "Chart.yaml") in files):
        return "chart"
    folder = _inside(_text(_map(layer.all.get("kustomize")).get("dir")) or ".")
    if folder is not None and any(_join(folder, name) in files for name in KUSTOMIZATIONS):
        return "kustomization"
    return ""


def _waiting(layer: _Layer) -> Iterator[Advice]:
    seconds = layer.helm("timeoutSeconds")
    if isinstance(seconds, int) and seconds > 0:
        return
    for key, what in (("waitForJobs", "waits for nothing"), ("atomic", "undoes only what fails at once")):
        if layer.own_helm(key) is True:
            summary = f"`helm.{key}` {what} without `helm.timeoutSeconds`"
            yield "wait-without-timeout", _at(layer, "helm", key), summary, "Write how long to wait, such as `timeoutSeconds: 300`."


def _namespaces(layer: _Layer) -> Iterator[Advice]:
    forced, usual = _text(layer.all.get("namespace")), _text(layer.all.get("defaultNamespace"))
    if _text(layer.own.get("defaultNamespace")) and usual != "-" and forced and forced != "-":
        summary = f"`defaultNamespace` has no effect: `namespace` puts everything into {forced}"
        yield "two-namespaces", _at(layer, "defaultNamespace"), summary, "Remove one of the two."
    if layer.all.get("deleteNamespace") is True and (forced or usual) in _PROTECTED:
        keys = [key for key in ("deleteNamespace", "namespace", "defaultNamespace") if layer.own.get(key)]
        if keys:
            summary = f"the namespace {forced or usual} is never deleted"
            yield "protected-namespace", _at(layer, keys[0]), summary, "Remove `deleteNamespace`, or name another namespace."
    for key, limit in (("namespace", 63), ("defaultNamespace", 63)):
        name = _text(layer.own.get(key))
        if name and not is_name(name, limit=limit) and not (layer.is_custom and name == "-"):
            yield "invalid-name", _at(layer, key), f"`{key}`: {name[:80]!r} cannot be a namespace", "Use small letters, digits and -."
    name = _text(layer.own_helm("releaseName"))
    if name and not is_name(name, limit=53):
        summary = f"`helm.releaseName`: {name[:80]!r} cannot be a release's name"
        yield "invalid-name", _at(layer, "helm", "releaseName"), summary, "Use at most 53 small letters, digits, - and dots."


def _settings(layer: _Layer) -> Iterator[Advice]:
    if layer.own.get("forceSyncGeneration") is not None:
        step = "Set it in the GitRepo."
        yield "force-sync-generation", _at(layer, "forceSyncGeneration"), "the GitRepo's `forceSyncGeneration` wins over this one", step
    drift = _map(layer.own.get("correctDrift"))
    for key in ("force", "keepFailHistory"):
        if drift.get(key) is True and drift.get("enabled") is not True:
            summary = f"`correctDrift.{key}` does nothing without `correctDrift.enabled`"
            yield "correct-drift-off", _at(layer, "correctDrift", key), summary, "Write `enabled: true` beside it."
    for key, node in documents()["fleet.yaml"].root.keys.items():
        if node.field.later and layer.own.get(key):
            yield "not-done", _at(layer, key), f"`{key}`: {node.field.later[:1].lower()}{node.field.later[1:].rstrip('.')}", "Remove it."


def _diff(layer: _Layer) -> Iterator[Advice]:
    for at, patch in enumerate(_list(_map(layer.own.get("diff")).get("comparePatches"))):
        if not isinstance(patch, dict):
            continue
        place = _at(layer, "diff", "comparePatches", at)
        missing = [key for key in ("apiVersion", "kind") if not _text(patch.get(key))]
        if missing:
            summary = f"the entry of `diff.comparePatches` has no {' and no '.join(missing)}, so it fits no object"
            yield "diff-incomplete", place, summary, f"Write `{missing[0]}:`."
        why = _no_pattern(_text(patch.get("name")))
        if why:
            summary = f"`name` is no regular expression: {why}"
            yield "diff-pattern", (*place, "name"), summary, "Correct it, or write the object's name."


def _no_pattern(text: str) -> str:
    """What is wrong with it as a regular expression, or ""."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(text[:_LONGEST_PATTERN])
    except (re.error, OverflowError, RecursionError) as why:
        return " ".join(str(why).split())[:100] if len(text) <= _LONGEST_PATTERN else ""
    return ""


_LAYER_RULES = (_chart, _values_files, _templates, _kustomize, _overlays, _waiting, _namespaces, _settings, _diff)


def _shadowed(document: dict[str, Any]) -> Iterator[Advice]:
    if document.get("targetCustomizationMode") == "AllMatches":
        return
    for key in ("targets", "targetCustomizations"):
        items = [(at, item) for at, item in enumerate(_list(document.get(key))) if isinstance(item, dict)]
        for n, (at, item) in enumerate(items):
            first = next(((at_, other) for at_, other in items[:n] if _covers(other, item)), None)
            if first:
                name = _text(first[1].get("name")) or f"number {first[0] + 1}"
                summary = f"no cluster gets this entry: {name} picks the same ones before"
                yield "shadowed", (key, at), summary, "Put it before that one, or set `targetCustomizationMode: AllMatches`."


def _covers(first: dict[str, Any], then: dict[str, Any]) -> bool:
    """Whether every cluster that `then` picks is picked by `first`; False when that is not certain."""
    stated = [key for key in _CRITERIA if first.get(key) is not None]
    return bool(stated) and all(_covers_in(key, first[key], then.get(key)) for key in stated)


def _covers_in(key: str, first: Any, then: Any) -> bool:
    if not key.endswith("Selector"):
        return bool(first) and first == then
    if not isinstance(first, dict) or (first == {} and key == "clusterSelector"):
        return first == {}
    if not isinstance(then, dict):
        return False
    labels, others = (_map(part.get("matchLabels")) for part in (first, then))
    conditions, more = (_list(part.get("matchExpressions")) for part in (first, then))
    return all(key_ in others and others[key_] == value for key_, value in labels.items()) and all(one in more for one in conditions)


def _names_twice(document: dict[str, Any]) -> Iterator[Advice]:
    for key in ("targets", "targetCustomizations", "overrideTargets"):
        seen: set[str] = set()
        for at, item in enumerate(_list(document.get(key))):
            name = _text(_map(item).get("name"))
            if name in seen:
                yield "name-twice", (key, at, "name"), f"the name {name[:80]} stands twice in `{key}`", "Give each entry a name of its own."
            seen |= {name} if name else set()


def _depends_on_itself(document: dict[str, Any]) -> Iterator[Advice]:
    own, labels = _text(document.get("name")), {k: str(v) for k, v in _map(document.get("labels")).items()}
    for at, item in enumerate(_list(document.get("dependsOn"))):
        dependency = _map(item)
        name, selector = _text(dependency.get("name")), dependency.get("selector")
        by_name = bool(name) and name == own
        if (by_name and selector is None) or ((not name or by_name) and _picks(selector, labels)):
            step = "Remove the entry." if by_name else "Choose labels that the bundle itself has not got."
            yield "depends-on-itself", ("dependsOn", at), "the bundle would wait for itself", step


def _picks(selector: Any, labels: dict[str, str]) -> bool:
    """Whether the bundle's own labels are among what `selector` picks; an empty one picks every bundle."""
    try:
        return isinstance(selector, dict) and matches(selector, labels)
    except (UsageError, AttributeError, TypeError):
        return False


def _selectors(value: Any, path: Path) -> Iterator[Advice]:
    """Conditions anywhere whose values do not fit their operator."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _selectors(item, (*path, at))
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "matchExpressions" and _is_selector(path):
                yield from _conditions(item, (*path, key))
            elif key not in {"values", "templateValues"}:
                yield from _selectors(item, (*path, key))


def _is_selector(path: Path) -> bool:
    return bool(path) and path[-1] in {"clusterSelector", "clusterGroupSelector", "selector"}


def _conditions(value: Any, path: Path) -> Iterator[Advice]:
    for at, item in enumerate(_list(value)):
        operator, values = _map(item).get("operator"), _map(item).get("values")
        if operator in {"In", "NotIn"} and not values:
            yield "selector-values", (*path, at), f"{operator} without `values`", "Write the label's values."
        elif operator in {"Exists", "DoesNotExist"} and values:
            yield "selector-values", (*path, at), f"{operator} looks at no `values`", "Remove them, or write In or NotIn."


def ignored(text: bytes, files: Collection[str]) -> Iterator[tuple[int, str, str]]:
    """(line, summary, next step) of each line of a .fleetignore that leaves nothing out. files: those below its folder.

    Fleet compares a line with the last part of a path alone, or as `NAME/*` with the names of folders.
    """
    folders = {part for path in files for part in path.split("/")[:-1]}
    parts = folders | {path.rpartition("/")[2] for path in files}
    for at, written in enumerate(text.decode("utf-8", "replace").splitlines(), start=1):
        line = written.rstrip()
        if not line or line.startswith("#"):
            continue
        shown = line[:80]
        if "/*" in line[1:]:
            if line.removesuffix("/*") not in folders:
                yield at, f"there is no folder for {shown!r}", "Write `NAME/*`, with the folder's name alone."
        elif "/" in line:
            yield at, f"{shown!r} matches nothing: a line is compared with names, not with paths", "Write the name alone, or `NAME/*`."
        elif line.startswith("!"):
            yield at, f"{shown!r} takes nothing back: there is no negation here", "Remove the line."
        elif not any(fnmatchcase(part, line.replace("[^", "[!")) for part in parts):
            yield at, f"{shown!r} matches nothing", "Correct or remove the line."


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _texts(item, (*path, at))


def _inside(path: str) -> str | None:
    """A path within the bundle's folder, "" being the folder; None for one that leaves it."""
    normal = posixpath.normpath(path.strip("/") or ".")
    return None if normal.startswith("..") else normal.removeprefix(".") if normal == "." else normal


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _at(layer: _Layer, *path: str | int) -> Path:
    return (*layer.prefix, *path)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
