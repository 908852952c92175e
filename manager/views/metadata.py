"""Builds the parts that all objects share: the head of a document and its conditions. Holds the
filters of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from fleetctl.core.documents.object_check import api_version
from fleetctl.core.formats.redact import redacted

from ..store.keys import ALL_KEYS, KeyRange
from ..store.queries.bundles import BundleRow
from ..store.queries.clusters import ClusterRow
from ..store.queries.objects import ObjectRow

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class ListFilter:
    """Which objects a list contains; an empty field selects all. `states`: the values of
    `status.display.state`; `not_ready`: all values but Ready. `keys`: the part of the sorted list.
    """

    workspace: str | None = None
    name: str = ""
    selector: str = ""
    cluster: str = ""
    repo: str = ""
    bundle: str = ""
    states: tuple[str, ...] = ()
    not_ready: bool = False
    keys: KeyRange = ALL_KEYS

    def has_state(self, item: Document) -> bool:
        """Whether the state of the document is one that the list contains."""
        state = display_state(item)
        if self.not_ready and state == "Ready":
            return False
        return not self.states or state in self.states

    @property
    def is_filtered(self) -> bool:
        """Whether the list lacks objects of its kind and workspace."""
        texts = (self.name, self.selector, self.cluster, self.repo, self.bundle)
        return any(texts) or bool(self.states) or self.not_ready

    @property
    def excludes_ready(self) -> bool:
        return self.not_ready or (bool(self.states) and "Ready" not in self.states)


def build_document(
    kind: str,
    row: ObjectRow | ClusterRow,
    spec: Any,
    status: Any,
    labels: dict[str, str] | None = None,
) -> Document:
    """The document of a row; `labels` replace the stored ones.

    kubectl's last-applied annotation holds the whole manifest, so addresses in annotations are
    redacted.
    """
    if labels is None:
        labels = msgspec.json.decode(row.labels)
    annotations = {
        key: redacted(value) if "://" in value else value
        for key, value in msgspec.json.decode(row.annotations).items()
    }
    return assemble_document(
        kind, row, spec, status, {"labels": labels, "annotations": annotations}
    )


def assemble_document(
    kind: str, row: ObjectRow | ClusterRow | BundleRow, spec: Any, status: Any, head: Document
) -> Document:
    """The document of a row, with `head` (labels and annotations) in its metadata."""
    metadata = {
        "name": row.name,
        "namespace": row.workspace,
        "uid": row.uid,
        "generation": row.generation,
        "creationTimestamp": row.created_at,
        **head,
    }
    return {
        "apiVersion": api_version(kind),
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def condition(kind: str, *, ok: bool, message: str = "") -> dict[str, str]:
    """A Kubernetes condition, without a message when there is none."""
    fields = {"type": kind, "status": "True" if ok else "False"}
    return fields | {"message": message} if message else fields


def display_state(item: Document) -> str:
    return str(item.get("status", {}).get("display", {}).get("state", ""))
