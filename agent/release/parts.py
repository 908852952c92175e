"""A bundle that helm's record cannot hold, as several releases: whole objects spread over parts.

Rule: part 1 is the release itself, part n is called `NAME.part-N`, which no bundle may be called;
an object keeps its part over the generations, and one that must move is handed over, never deleted
and made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetctl.core.formats.yaml import load
from fleetctl.core.formats.yaml_stream import documents_of
from fleetctl.core.model.errors import UsageError
from fleetctl.core.rendering.release_size import LIMIT, MOST, Gauge
from fleetctl.core.rendering.render import part_name
from fleetctl.tools.field_substitution import Key, key_of
from fleetctl.tools.helm import Release

from ..state.journal import Entry

PART = "fleetctl-part"  # label of every part's record but the first
# Parts are filled up to here, so that objects which grow need not move.
_FILLED = MOST * 17 // 20
# What others need comes first: helm sorts within one release only.
_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PriorityClass",
    "StorageClass",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
)
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}


def releases_of(entry: Entry) -> list[Release]:
    """Every release that holds something of the bundle, the bundle's own first; empty when none was
    ever made.
    """
    if not entry.release:
        return []
    return [Release(part_name(entry.release, part), entry.namespace) for part in (1, *entry.parts)]


@dataclass(frozen=True)
class Piece:
    """One document: an object, or a List, which goes by its first item."""

    key: Key
    text: bytes = field(repr=False)
    hook: str = ""

    @property
    def shown(self) -> str:
        _, kind, namespace, name = self.key
        return f"{kind} {namespace}/{name}"


def pieces(text: bytes, namespace: str) -> list[Piece]:
    """The documents of a stream in their order. Raises InvalidFile."""
    found: list[Piece] = []
    for part in documents_of(text):
        document = load(part, file="rendered objects")
        if isinstance(document, dict) and document.get("kind"):
            found.append(Piece(key_of(_first(document), namespace), part, _hook(document)))
    return found


def joined(parts: Iterable[Piece]) -> bytes:
    return b"".join(b"---\n" + piece.text.strip(b"\r\n") + b"\n" for piece in parts)


def split(
    found: Sequence[Piece], where: Mapping[Key, int], *, filled: int = _FILLED, most: int = MOST
) -> dict[int, list[Piece]]:
    """Part by number, each with its pieces in the order of `found`; part 1 is always there. A piece
    stays in the part that `where` names as long as that part's record is at most `most` bytes;
    others go where there is room up to `filled`, else into a new part. Raises UsageError with the
    numbers for one object that no record can hold.
    """
    order = sorted(found, key=_rank)
    gauges: dict[int, Gauge] = {1: Gauge()} | {
        part: Gauge() for part in sorted(set(where.values()))
    }
    old, place = sorted(gauges), {}
    for piece in order:
        part = where.get(piece.key, 0)
        if part and not piece.hook and gauges[part].fits(piece.text, most):
            place[piece.key] = part
    last = 0
    for piece in order:
        if piece.key in place:
            continue
        limit = filled if Gauge().fits(piece.text, filled) else most
        tried = [*old, *([last] if last else [])] if where else [max(last, 1)]
        part = next((n for n in tried if gauges[n].fits(piece.text, limit)), 0)
        if not part:
            part = last = max(gauges) + 1
            gauges[part] = Gauge()
            if not gauges[part].fits(piece.text, most):
                raise _too_large(piece)
        last = part if not where else last
        place[piece.key] = part
    return {
        part: [piece for piece in found if place[piece.key] == part]
        for part in sorted({1, *place.values()})
    }


def _rank(piece: Piece) -> int:
    """Hooks before an installation come first and those after it last, as far as parts allow it."""
    if piece.hook:
        return -1 if piece.hook.startswith("pre-") else len(_RANK) + 2
    return _RANK.get(piece.key[1], len(_RANK) + 1)


def _too_large(piece: Piece) -> UsageError:
    gauge = Gauge()
    gauge.add(piece.text, [piece.text])
    summary = (
        f"{piece.shown} alone makes a release record of about {gauge.size} bytes, and helm keeps at"
        f" most {LIMIT} in one Secret"
    )
    return UsageError(summary, subject=piece.shown, next_step="Make the object smaller.")


def _first(document: dict[str, Any]) -> dict[str, Any]:
    items = document.get("items")
    if (
        str(document.get("kind", "")).endswith("List")
        and isinstance(items, list)
        and items
        and isinstance(items[0], dict)
    ):
        return _first(items[0])
    return document


def _hook(document: dict[str, Any]) -> str:
    meta = document.get("metadata")
    notes = meta.get("annotations") if isinstance(meta, dict) else None
    return str(notes.get("helm.sh/hook", "")) if isinstance(notes, dict) else ""
