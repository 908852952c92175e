"""`yaml.overlays`: files of `overlays/NAME/` laid over the bundle's own.

Rule: the same path replaces, a new path adds, and `X_patch.yaml` changes `X.yaml`: a list is a JSON
Patch (RFC 6902), a map is a strategic merge for built-in kinds and a JSON merge (RFC 7386) for
others. Overlays are laid one over the other in the order given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fleetctl.core.formats.yaml import dump_all, load, load_all
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import InvalidFile
from fleetctl.core.text.json_pointer import unescape_step

_PATCH = re.compile(r"(.*)_patch(\.[^./]+)")
# Lists of maps that a strategic merge joins by key (k8s.io/api `patchMergeKey`); all other lists
# are replaced.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "secrets": "name",
    "hostAliases": "ip",
    "conditions": "type",
    "topologySpreadConstraints": "topologyKey",
}


def lay(files: Mapping[str, File], names: Sequence[str]) -> dict[str, File]:
    """The bundle's files without `overlays/`, changed by the overlays `names`. Raises InvalidFile
    naming the overlay's file.
    """
    result = {path: file for path, file in files.items() if not path.startswith("overlays/")}
    for name in names:
        prefix = f"overlays/{name}/"
        overlay_files = {
            path.removeprefix(prefix): file
            for path, file in files.items()
            if path.startswith(prefix)
        }
        for path, file in overlay_files.items():
            match = _PATCH.fullmatch(path)
            target = match[1] + match[2] if match else ""
            if not match:
                result[path] = file
            elif target not in result:
                raise InvalidFile(
                    f"changes {target}, which does not exist",
                    file=prefix + path,
                    next_step="Correct the name.",
                )
            else:
                result[target] = File(_apply_patch(result[target].data, file.data, prefix + path))
    return result


def _apply_patch(old: bytes, patch: bytes, file_name: str) -> bytes:
    change = load(patch, file=file_name)
    documents = [d for d in load_all(old, file=file_name) if d is not None]
    try:
        at = _index_of_target(documents, change)
        if documents:
            old_one = documents[at]
            documents[at] = (
                _json_patch(old_one, change)
                if isinstance(change, list)
                else merge(old_one, change, strategic=is_builtin(old_one))
            )
        return dump_all(documents).encode()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise InvalidFile(
            f"does not fit what it changes: {error}",
            file=file_name,
            next_step="Correct the path in it.",
        ) from error


def _index_of_target(documents: list[Any], change: Any) -> int:
    """Which of a file's documents a patch changes: the first of the kind and name that it states,
    else the first of all.
    """
    if isinstance(change, dict) and len(documents) > 1:
        kind, name = change.get("kind"), (change.get("metadata") or {}).get("name")
        for at, document in enumerate(documents):
            identity = (
                (document.get("metadata") or {}).get("name") if isinstance(document, dict) else None
            )
            if (
                isinstance(document, dict)
                and kind in {None, document.get("kind")}
                and name in {None, identity}
            ):
                return at
    return 0


def is_builtin(document: Any) -> bool:
    """Whether Kubernetes itself defines the kind, so that lists have merge keys."""
    version = str(document.get("apiVersion", "")) if isinstance(document, dict) else ""
    group = version.rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def merge(old: Any, new: Any, *, strategic: bool, key: str = "") -> Any:
    """`new` laid over `old`: null removes, maps merge, lists are joined by key or replaced."""
    if isinstance(new, dict):
        if strategic and "$patch" in new:
            return (
                {k: v for k, v in new.items() if k != "$patch"}
                if new["$patch"] == "replace"
                else {}
            )
        result = dict(old) if isinstance(old, dict) else {}
        for name, value in new.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = merge(result.get(name), value, strategic=strategic, key=name)
        return result
    if strategic and isinstance(new, list) and isinstance(old, list):
        by = _list_key(key, [*old, *new])
        if by:
            return _merge_list(old, new, by)
    return new


def _list_key(key: str, items: list[Any]) -> str:
    if not all(isinstance(item, dict) for item in items):
        return ""
    items = [item for item in items if item != {"$patch": "replace"}]
    if key == "ports":
        return "containerPort" if all("containerPort" in item for item in items) else "port"
    by = _MERGE_KEYS.get(key, "")
    return by if by and all(by in item for item in items) else ""


def _merge_list(old: list[Any], new: list[Any], by: str) -> list[Any]:
    """Kubernetes' order (apimachinery `strategicpatch.mergeSortedSlice`): items keep their place,
    new ones precede the rest of `old`.
    """
    if any(item.get("$patch") == "replace" for item in new):
        return [item for item in new if item.get("$patch") != "replace"]
    old_items = {item[by]: (at, item) for at, item in enumerate(old)}
    deleted_keys = {item[by] for item in new if item.get("$patch") == "delete"}
    right = [
        (item[by], merge(old_items.get(item[by], (0, None))[1], item, strategic=True))
        for item in new
        if item[by] not in deleted_keys
    ]
    new_keys = {key for key, _ in right}
    rest = [item for item in old if item[by] not in deleted_keys | new_keys]
    result: list[Any] = []
    for key, item in right:
        place = old_items[key][0] if key in old_items else -1
        while rest and place >= 0 and old_items[rest[0][by]][0] < place:
            result.append(rest.pop(0))
        result.append(item)
    return result + rest


def _json_patch(document: Any, operations: list[Any]) -> Any:
    root = {"": document}
    for operation in operations:
        path, kind = str(operation["path"]), str(operation["op"])
        if kind in {"move", "copy"}:
            value = _look(root, str(operation["from"]))
            if kind == "move":
                _apply(root, str(operation["from"]), "remove", None)
        else:
            value = operation.get("value")
        if kind == "test":
            if _look(root, path) != value:
                raise ValueError(f"test of {path} failed")
            continue
        _apply(root, path, "add" if kind in {"move", "copy"} else kind, value)
    return root[""]


def _steps(path: str) -> list[str]:
    return [unescape_step(step) for step in path.split("/")]


def _look(root: Any, path: str) -> Any:
    for step in _steps(path):
        root = root[int(step)] if isinstance(root, list) else root[step]
    return root


def _apply(root: Any, path: str, op: str, value: Any) -> None:
    *above, last = _steps(path)
    for step in above:
        root = root[int(step)] if isinstance(root, list) else root[step]
    if isinstance(root, list):
        at = len(root) if last == "-" else int(last)
        if op == "add":
            root.insert(at, value)
        elif op == "remove":
            del root[at]
        else:
            root[at] = value
    elif op == "remove":
        del root[last]
    elif op == "replace" and last not in root:
        raise KeyError(last)
    elif op in {"add", "replace"}:
        root[last] = value
    else:
        raise ValueError(f"unknown operation {op!r}")
