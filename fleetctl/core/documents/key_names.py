"""Decides what a key means that a document does not know: another spelling, a typing error, a key
of another place, or nothing.

Rule: Go reads keys in any letter case, so they are read here too, with a warning. A typing error of
a known key is an error, because nobody means it. A key that belongs elsewhere, or that nobody
knows, is a warning: Fleet ignores it, and the bundle works.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from fleetctl.core.text.suggest import close_words

Path = tuple[str | int, ...]
CASE, TYPO, MISPLACED, IGNORED = "key-case", "unknown-key", "misplaced-key", "ignored-key"
# Fleet's keys for the agent's pod in a cluster: accepted, so that manifests pass unchanged, and
# without effect.
POD_ONLY = re.compile(
    r"agent[A-Z].*|hostNetwork|kubeConfigSecret.*|privateRepoURL|redeployAgentGeneration"
)
_MOST_LISTED = 12
_LONGEST = 120

_TARGET = (
    "Write it in an entry of `targetCustomizations`, or of `overrideTargets` to choose the"
    " clusters."
)
_NAMESPACE = (
    "Write `defaultNamespace` at the top level, or `namespace` there to put every object into it."
)
# By the place without its customization: what people write there, and what they mean.
_HINTS: Mapping[str, Mapping[str, str]] = {
    "": {
        "targetnamespace": "Write `namespace`.",
        "clustername": _TARGET,
        "clusterselector": _TARGET,
        "clustergroup": _TARGET,
        "clustergroupselector": _TARGET,
        "donotdeploy": "Write it in an entry of `targetCustomizations`.",
        "metadata": "Write `name` and `labels` at the top level.",
        "annotations": "Write `labels`: a bundle has no annotations.",
        "spec": "Write the keys below it at the top level.",
        "apiversion": "Remove it: a fleet.yaml is no Kubernetes object.",
        "kind": "Remove it: a fleet.yaml is no Kubernetes object.",
        "dependencies": "Write `dependsOn`.",
        "rollout": "Write `rolloutStrategy`.",
        "resources": "Remove it: the bundle has the files of its folder.",
    },
    "helm": {
        "namespace": _NAMESPACE,
        "targetnamespace": _NAMESPACE,
        "defaultnamespace": _NAMESPACE,
        "name": "Write `releaseName`.",
        "release": "Write `releaseName`.",
        "url": "Write `repo`.",
        "repository": "Write `repo`.",
        "chartversion": "Write `version`.",
        "timeout": "Write `timeoutSeconds`.",
        "wait": "Write `timeoutSeconds`: Helm waits for so long.",
        "set": "Write `values`.",
        "overrides": "Write `values`.",
    },
    "kustomize": {"path": "Write `dir`.", "overlay": "Write `dir`.", "namespace": _NAMESPACE},
    "spec": {
        "url": "Write `repo`.",
        "path": "Write `paths`.",
        "secret": "Write `clientSecretName`.",
        "namespace": "Write `targetNamespace`.",
        "defaultnamespace": "Write it in the fleet.yaml of a bundle.",
    },
}


class Judgement(NamedTuple):
    """`code`: a kind of finding; `key`: the key that is meant, for another letter case."""

    code: str
    summary: str
    next_step: str
    key: str = ""

    @property
    def is_error(self) -> bool:
        return self.code == TYPO


def judge(key: str, known_keys: Collection[str], path: Path, table: Mapping[str, Any]) -> Judgement:
    """What to say of `key` in the map at `path`, whose keys are `known_keys`. `table`: every key of
    the document, as `helm.valuesFiles[]`.
    """
    text = dotted_path((*path, key))
    lower = {name.lower(): name for name in known_keys}
    if key.lower() in lower:
        right = lower[key.lower()]
        return Judgement(CASE, f"key `{text}` is read as `{right}`", f"Write `{right}`.", right)
    step = _elsewhere(key, path, table)
    if step:
        return Judgement(MISPLACED, f"key `{text}` has no effect here", step)
    near = nearest(key, known_keys)
    if near and is_typing_error(key, near):
        return Judgement(TYPO, f"unknown key `{text}`", f"Did you mean `{near}`?")
    step = f"Did you mean `{near}`?" if near else f"Remove it; known here: {list_keys(known_keys)}."
    return Judgement(IGNORED, f"unknown key `{text}` has no effect", step)


def dotted_path(path: Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(
        "."
    )
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def nearest(word: str, words: Collection[str]) -> str | None:
    by_lower = {k.lower(): k for k in words}
    close = close_words(word.lower()[:200], by_lower)
    return by_lower[close[0]] if close else None


def list_keys(known_keys: Collection[str]) -> str:
    return ", ".join(sorted(known_keys)[:_MOST_LISTED]) + (
        ", …" if len(known_keys) > _MOST_LISTED else ""
    )


def is_typing_error(key: str, known_key: str) -> bool:
    """Whether `key` differs from `known_key` by one letter, or two or three of a long word; two
    letters in each other's place count once.
    """
    limit = max(1, min(3, len(known_key) // 5))
    return (
        abs(len(key) - len(known_key)) <= limit
        and _distance(key.lower(), known_key.lower()) <= limit
    )


def _distance(left: str, right: str) -> int:
    """Optimal string alignment."""
    rows = [list(range(len(right) + 1))]
    for i, a in enumerate(left, 1):
        row = [i]
        for j, b in enumerate(right, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and b == left[i - 2]:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


def _elsewhere(key: str, path: Path, table: Mapping[str, Any]) -> str:
    """Where `key` would have an effect, as the next step; "" when nowhere."""
    place = _place(path)
    hint = _HINTS.get(place, {}).get(key.lower(), "")
    if hint:
        return hint
    homes = [
        name for name in table if name.rpartition(".")[2].removesuffix("[]").lower() == key.lower()
    ]
    homes = [name for name in homes if "[]." not in name]
    if not homes:
        return ""
    home = min(homes, key=lambda name: (name.count("."), name)).removesuffix("[]")
    return f"Write it as `{home}`." if "." in home else f"Write `{home}` at the top level."


def _place(path: Path) -> str:
    """`path` without indices and without the customization around it."""
    if (
        len(path) > 1
        and path[0] in {"targetCustomizations", "targets"}
        and isinstance(path[1], int)
    ):
        path = path[2:]
    return ".".join(step for step in path if isinstance(step, str))
