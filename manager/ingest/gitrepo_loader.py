"""Loads a GitRepo with the credentials that it names, for a fetch and a scan."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import msgspec

from fleetctl.core.documents.gitrepo import RESTRICTED, RepoSpec, repo_spec
from fleetctl.core.model.errors import NotFound
from fleetctl.core.model.json_object import JsonObject
from fleetctl.sources.git import repository

from ..security.vault import Vault
from ..store import Reader
from ..store.engine import Store
from ..store.queries.ingest.gitrepos import (
    GitRepoRow,
    ScanStateRow,
    find_gitrepo,
    find_scan_state,
)
from ..store.queries.objects import sealed_objects

# Codes of problems that may disappear without a new commit.
TRANSIENT = frozenset({"source", "unavailable", "deadline"})

Key = tuple[str, str]  # workspace and name of a GitRepo


class GitRepoDeleted(Exception):
    """The GitRepo does not exist any more."""


@dataclass(frozen=True)
class LoadedGitRepo:
    """A GitRepo with its credentials and the state of its last scan.

    `checked_commit`: the commit of the last scan; `scanned_generation`: the generation of the
    GitRepo that was scanned last; `retry`: the last scan met a problem that may disappear by
    itself; `is_restricted`: the address may not lead to hosts that only the manager reaches.
    """

    uid: str
    spec: RepoSpec
    generation: int
    checked_commit: str
    scanned_generation: int
    retry: bool
    credential: repository.Credential | None
    helm_credential: repository.Credential | None
    is_restricted: bool


@dataclass(frozen=True)
class _StoredGitRepo:
    """The rows of a GitRepo, and the credentials that it names by the name of the Secret."""

    row: GitRepoRow | None
    state: ScanStateRow | None
    credentials: dict[str, repository.Credential]


class GitRepoLoader:
    """Reads GitRepos from the store and decrypts their Secrets."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store, self._vault = store, vault

    async def load(self, key: Key, document: JsonObject | None = None) -> LoadedGitRepo:
        """Load the GitRepo, or what `document` would make of it.

        Raises GitRepoDeleted if it does not exist, NotFound if its Secret does not exist.
        """

        def read(reader: Reader) -> _StoredGitRepo:
            return self._read(reader, key, document)

        stored_repo = await self._store.read(read)
        row, state = stored_repo.row, stored_repo.state
        spec = _spec_of(key, stored_repo, document)
        secret = spec.spec.client_secret_name
        if secret and secret not in stored_repo.credentials:
            step = (
                f"Make it, or run `fleetctl gitrepo add {key[1]} … --username U --password-stdin`"
                " again."
            )
            raise NotFound(
                f"Secret {secret} does not exist", subject=f"GitRepo {key[1]}", next_step=step
            )
        return LoadedGitRepo(
            uid=row.uid if row else "",
            spec=spec,
            generation=row.generation if row else 0,
            checked_commit=state.checked_commit if state else "",
            scanned_generation=state.generation if state else 0,
            retry=state is not None and not state.problem_codes.isdisjoint(TRANSIENT),
            credential=_with_ca(
                stored_repo.credentials.get(secret or "gitcredential"), spec.spec.ca_bundle
            ),
            helm_credential=stored_repo.credentials.get(spec.spec.helm_secret_name),
            is_restricted=RESTRICTED in _annotations(row, document),
        )

    def _read(self, reader: Reader, key: Key, document: JsonObject | None) -> _StoredGitRepo:
        """Read the GitRepo and its credentials. Raises GitRepoDeleted if it does not exist and no
        `document` replaces it.
        """
        row, state = find_gitrepo(reader, *key), find_scan_state(reader, *key)
        if (row is None or state is None) and document is None:
            raise GitRepoDeleted
        spec = document.get("spec") if document is not None else row and row.spec
        spec = spec or {}
        names = {
            str(spec.get("clientSecretName") or "gitcredential"),
            str(spec.get("helmSecretName") or ""),
        }
        credentials = {
            name: self._credential(key[0], name, secret.spec)
            for (kind, name), secret in sealed_objects(reader, key[0], names).items()
            if kind == "Secret"
        }
        return _StoredGitRepo(row, state, credentials)

    def _credential(self, workspace: str, name: str, sealed: bytes) -> repository.Credential:
        data = msgspec.json.decode(self._vault.unseal(sealed, f"Secret/{workspace}/{name}"))["data"]
        plain = {key: base64.b64decode(value) for key, value in data.items()}
        return repository.Credential(
            username=plain.get("username", b"").decode("utf-8", "replace"),
            password=plain.get("password", b"").decode("utf-8", "replace"),
            ca_pem=plain.get("cacerts") or plain.get("ca.crt") or b"",
        )


def _spec_of(key: Key, stored_repo: _StoredGitRepo, document: JsonObject | None) -> RepoSpec:
    """The spec of the stored GitRepo, or of the `document` that replaces it."""
    if document is not None:
        return repo_spec(document)
    row = stored_repo.row
    assert row is not None
    metadata = {"name": key[1], "namespace": key[0], "labels": row.labels}
    return repo_spec({"metadata": metadata, "spec": row.spec})


def _annotations(row: GitRepoRow | None, document: JsonObject | None) -> JsonObject:
    if document is None:
        return row.annotations if row else {}
    metadata = document.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _with_ca(credential: repository.Credential | None, bundle: str) -> repository.Credential | None:
    if not bundle:
        return credential
    pem = bundle.encode() if "BEGIN CERT" in bundle else base64.b64decode(bundle)
    credential = credential or repository.Credential()
    return repository.Credential(
        username=credential.username, password=credential.password, ca_pem=pem
    )
