"""Creates or changes an object that a person writes, in one transaction: gather, decide, write."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from fleetctl.core.documents.object_check import DATA_KINDS, token_limits
from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.ids import ClusterId

from ..clock import rfc3339, until
from ..identifiers import new_cluster_id, new_uid
from ..security import data_keys
from ..security.tokens import hash_token
from ..security.vault import Vault
from ..store.commands import clusters as cluster_commands
from ..store.commands import objects as object_commands
from ..store.commands import tokens as token_commands
from ..store.commands.clusters import NewCluster
from ..store.connection import Reader, Writer
from ..store.queries import objects as object_queries
from ..store.queries.objects import ObjectContent, StoredObjectKey
from ..store.queries.tokens import RegistrationRow
from .object_effects import reconcile_object, reconcile_repo

_json = msgspec.json.encode
PutResult = Literal["created", "configured", "unchanged"]


@dataclass(frozen=True)
class Submission:
    """An object as a person wrote it, checked. `spec` is plain JSON, also of a Secret."""

    key: StoredObjectKey
    labels: bytes
    annotations: bytes
    spec: bytes


@dataclass(frozen=True)
class StoredObject:
    """What the store holds of the object before the write. `plain_spec` None: the object does not
    exist, or the secret key cannot decrypt it; then a new content replaces it.
    """

    row: ObjectContent | None
    plain_spec: bytes | None


@dataclass(frozen=True)
class WriteOutcome:
    """`token`: the value of a new ClusterRegistrationToken. `touched`: clusters whose documents
    changed.
    """

    result: PutResult
    token: str | None
    changed_clusters: set[ClusterId]


def put_object(
    writer: Writer, submission: Submission, vault: Vault, now: float, *, dry_run: bool
) -> WriteOutcome:
    """A dry run does not reconcile: reconciling refuses nothing, and is the most expensive part."""
    stored_object = gather_object(writer, submission.key, vault)
    result = decide_put(submission, stored_object)
    token = None
    if result == "created":
        token = _create(writer, submission, vault, now)
    elif result == "configured":
        _update(writer, submission, stored_object, vault, now)
    changed_clusters: set[ClusterId] = set()
    if not dry_run and result != "unchanged":
        changed_clusters = _reconcile(writer, submission, stored_object, rfc3339(now))
    return WriteOutcome(result, token, changed_clusters)


def gather_object(reader: Reader, key: StoredObjectKey, vault: Vault) -> StoredObject:
    row = object_queries.find_object(reader, key)
    if row is None:
        return StoredObject(None, None)
    if key.kind not in DATA_KINDS:
        return StoredObject(row, row.spec)
    try:
        return StoredObject(row, vault.unseal(row.spec, str(key)))
    except RefusedError:
        return StoredObject(row, None)


def decide_put(submission: Submission, stored_object: StoredObject) -> PutResult:
    if stored_object.row is None:
        return "created"
    content = (stored_object.row.labels, stored_object.row.annotations, stored_object.plain_spec)
    if content == (submission.labels, submission.annotations, submission.spec):
        return "unchanged"
    return "configured"


def _create(writer: Writer, submission: Submission, vault: Vault, now: float) -> str | None:
    """Returns the value of a new ClusterRegistrationToken."""
    key, created_at = submission.key, rfc3339(now)
    if key.kind == "Cluster":
        _create_cluster(writer, submission, created_at)
        return None
    row = _new_row(submission, vault)
    object_commands.insert_object(writer, key, row, uid=new_uid(), created=created_at)
    if key.kind == "GitRepo":
        object_commands.insert_missing_repo(writer, key.workspace, key.name)
    if key.kind != "ClusterRegistrationToken":
        return None
    return _create_registration(writer, key, msgspec.json.decode(submission.spec), now)


def _create_cluster(writer: Writer, submission: Submission, created_at: str) -> None:
    cluster = NewCluster(
        id=new_cluster_id(),
        uid=new_uid(),
        workspace=submission.key.workspace,
        name=submission.key.name,
        created_at=created_at,
        labels=submission.labels,
        annotations=submission.annotations,
        spec=submission.spec,
    )
    cluster_commands.insert_clusters(writer, [cluster])


def _create_registration(
    writer: Writer, key: StoredObjectKey, spec: dict[str, Any], now: float
) -> str:
    """Returns the value of the new token. Only its hash is stored."""
    token = secrets.token_urlsafe(32)
    limits = _registration_limits(key, spec, now)
    registration = RegistrationRow(
        hash=hash_token(token),
        workspace=key.workspace,
        cluster="",
        cluster_id=None,
        source=key.name,
        labels=limits.labels,
        expires_at=limits.expires,
        remaining_uses=limits.uses,
        replace=False,
    )
    token_commands.insert_registration(writer, registration)
    return token


@dataclass(frozen=True)
class RegistrationLimits:
    """What a ClusterRegistrationToken allows. `labels`: JSON of the labels of new clusters."""

    labels: bytes
    expires: str
    uses: int


def _registration_limits(
    key: StoredObjectKey, spec: dict[str, Any], now: float
) -> RegistrationLimits:
    seconds, uses = token_limits(spec, f"ClusterRegistrationToken {key.name}")
    return RegistrationLimits(_json(spec.get("labels") or {}), until(now, seconds), uses)


def _update(
    writer: Writer, submission: Submission, stored_object: StoredObject, vault: Vault, now: float
) -> None:
    key = submission.key
    assert stored_object.row is not None
    if stored_object.plain_spec == submission.spec:
        row = ObjectContent(
            submission.labels,
            submission.annotations,
            stored_object.row.spec,
            stored_object.row.extra,
        )
    else:
        row = _new_row(submission, vault)
    object_commands.update_object(writer, key, row)
    if key.kind == "ClusterRegistrationToken" and submission.spec != stored_object.row.spec:
        limits = _registration_limits(key, msgspec.json.decode(submission.spec), now)
        token_commands.set_registration_limits(
            writer,
            key.workspace,
            key.name,
            labels=limits.labels,
            expires=limits.expires,
            uses=limits.uses,
        )


def _new_row(submission: Submission, vault: Vault) -> ObjectContent:
    """The columns of a new content: encrypted for a Secret or ConfigMap."""
    spec, extra = submission.spec, b"{}"
    if submission.key.kind in DATA_KINDS:
        place = str(submission.key)
        extra = data_keys.summary_of(vault, place, msgspec.json.decode(spec))
        spec = vault.seal(spec, place)
    return ObjectContent(submission.labels, submission.annotations, spec, extra)


def _reconcile(
    writer: Writer, submission: Submission, stored_object: StoredObject, now: str
) -> set[ClusterId]:
    key, row = submission.key, stored_object.row
    if key.kind != "GitRepo":
        return reconcile_object(writer, key, now)
    if row is None or _is_paused(row.spec) == _is_paused(submission.spec):
        return set()
    return reconcile_repo(writer, key.workspace, key.name, now)


def _is_paused(spec: bytes) -> bool:
    return bool(msgspec.json.decode(spec).get("paused"))
