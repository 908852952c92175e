"""A bundle that helm's record cannot hold, as several releases: whole objects spread over parts.

Rule: part 1 is the release itself, part n is called `NAME.part-N`, which no bundle may be called;
an object keeps its part over the generations, and one that must move is handed over, never deleted
and made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleetctl.core.formats.yaml import load
from fleetctl.core.formats.yaml_stream import documents_of
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.json_object import JsonObject
from fleetctl.core.rendering.release_size import LIMIT, MAX_BYTES, Gauge
from fleetctl.core.rendering.render import part_name
from fleetctl.tools.field_substitution import Key, key_of
from fleetctl.tools.helm import Release

from ..state.journal import Entry

PART = "fleetctl-part"  # label of every part's record but the first
# Parts are filled up to here, so that objects which grow need not move.
_FILL_LIMIT = MAX_BYTES * 17 // 20
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
    def display_name(self) -> str:
        _, kind, namespace, name = self.key
        return f"{kind} {namespace}/{name}"


def pieces(text: bytes, namespace: str) -> list[Piece]:
    """The documents of a stream in their order. Raises InvalidFile."""
    result: list[Piece] = []
    for part in documents_of(text):
        document = load(part, file="rendered objects")
        if isinstance(document, dict) and document.get("kind"):
            result.append(Piece(key_of(_first(document), namespace), part, _hook(document)))
    return result


def join_pieces(parts: Iterable[Piece]) -> bytes:
    return b"".join(b"---\n" + piece.text.strip(b"\r\n") + b"\n" for piece in parts)


def assign_parts(
    all_pieces: Sequence[Piece],
    known_parts: Mapping[Key, int],
    *,
    fill_limit: int = _FILL_LIMIT,
    size_limit: int = MAX_BYTES,
) -> dict[int, list[Piece]]:
    """Part by number, each with its pieces in the order of `found`; part 1 is always there. A piece
    stays in the part that `where` names as long as that part's record is at most `most` bytes;
    others go where there is room up to `filled`, else into a new part. Raises UsageError with the
    numbers for one object that no record can hold.
    """
    sorted_pieces = sorted(all_pieces, key=_rank)
    gauges: dict[int, Gauge] = {1: Gauge()} | {
        part: Gauge() for part in sorted(set(known_parts.values()))
    }
    old_parts, part_of_key = sorted(gauges), {}
    for piece in sorted_pieces:
        part = known_parts.get(piece.key, 0)
        if part and not piece.hook and gauges[part].fits(piece.text, size_limit):
            part_of_key[piece.key] = part
    last_part = 0
    for piece in sorted_pieces:
        if piece.key in part_of_key:
            continue
        limit = fill_limit if Gauge().fits(piece.text, fill_limit) else size_limit
        candidates = (
            [*old_parts, *([last_part] if last_part else [])]
            if known_parts
            else [max(last_part, 1)]
        )
        part = next((number for number in candidates if gauges[number].fits(piece.text, limit)), 0)
        if not part:
            part = last_part = max(gauges) + 1
            gauges[part] = Gauge()
            if not gauges[part].fits(piece.text, size_limit):
                raise _too_large(piece)
        last_part = part if not known_parts else last_part
        part_of_key[piece.key] = part
    return {
        part: [piece for piece in all_pieces if part_of_key[piece.key] == part]
        for part in sorted({1, *part_of_key.values()})
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
        f"{piece.display_name} alone makes a release record of about {gauge.size} bytes, and helm"
        f" keeps at most {LIMIT} in one Secret"
    )
    return UsageError(summary, subject=piece.display_name, next_step="Make the object smaller.")


def _first(document: JsonObject) -> JsonObject:
    items = document.get("items")
    if (
        str(document.get("kind", "")).endswith("List")
        and isinstance(items, list)
        and items
        and isinstance(items[0], dict)
    ):
        return _first(items[0])
    return document


def _hook(document: JsonObject) -> str:
    meta = document.get("metadata")
    notes = meta.get("annotations") if isinstance(meta, dict) else None
    return str(notes.get("helm.sh/hook", "")) if isinstance(notes, dict) else ""
