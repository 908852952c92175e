"""A GitRepo's spec, in Fleet's keys (rancher/fleet `gitrepo_types.go`)."""

from __future__ import annotations

from typing import Any

import msgspec

from fleetctl.core.documents.convert import Note, Origin, convert
from fleetctl.core.documents.fields import GITREPO
from fleetctl.core.documents.unused_keys import without_effect
from fleetctl.core.formats.redact import without_public_user
from fleetctl.core.model.bundle import Target
from fleetctl.core.model.errors import NotEnforced
from fleetctl.core.model.ids import RepoName, Workspace
from fleetctl.core.model.options import CorrectDrift, Options

CRITERIA = ("name", "clusterName", "clusterSelector", "clusterGroup", "clusterGroupSelector")


# Kinds that narrow rights in Fleet; stored without being enforced they would be an empty promise.
NOT_ENFORCED = ("GitRepoRestriction", "Policy", "BundleNamespaceMapping")


def refuse_not_enforced(text: str) -> None:
    """Raises NotEnforced for a kind that is not enforced, however a person writes it (`policies`,
    `Policy`).
    """
    operation = text.lower().removesuffix("s")
    for kind in NOT_ENFORCED:
        if operation in {kind.lower(), kind.lower().removesuffix("y") + "ie"}:
            step = "Give each GitRepo its serviceAccount and targetNamespace: those are enforced."
            raise NotEnforced("refused: not enforced in this version", subject=kind, next_step=step)


class GitTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Which clusters; the same criteria in GitRepo targets, overrideTargets, partitions and
    schedules.
    """

    name: str = ""
    cluster_name: str = ""
    cluster_selector: dict[str, Any] | None = None
    cluster_group: str = ""
    cluster_group_selector: dict[str, Any] | None = None

    @property
    def states_no_criterion(self) -> bool:
        return (
            not (self.cluster_name or self.cluster_group)
            and self.cluster_selector is None
            and self.cluster_group_selector is None
        )

    def target(self, *, do_not_deploy: bool = False, options: Options | None = None) -> Target:
        """The same criteria, with what happens to the clusters that they pick."""
        return Target(
            name=self.name,
            cluster_name=self.cluster_name,
            cluster_selector=self.cluster_selector,
            cluster_group=self.cluster_group,
            cluster_group_selector=self.cluster_group_selector,
            do_not_deploy=do_not_deploy,
            options=options or Options(),
        )


class DrivenBundle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A bundle that is named instead of found: its directory, and its fleet.yaml by a path relative
    to that.
    """

    base: str
    options: str = ""


class GitRepoSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What this version reads of a GitRepo's spec."""

    repo: str
    branch: str = ""
    revision: str = ""
    paths: list[str] = []
    bundles: list[DrivenBundle] = []
    targets: list[GitTarget] | None = None
    target_namespace: str = ""
    service_account: str = ""
    client_secret_name: str = ""
    helm_secret_name: str = ""
    helm_repo_url_regex: str = msgspec.field(default="", name="helmRepoURLRegex")
    polling_interval: str = ""
    disable_polling: bool = False
    force_sync_generation: int = 0
    paused: bool = False
    keep_resources: bool = False
    delete_namespace: bool = False
    correct_drift: CorrectDrift | None = None
    ca_bundle: str = msgspec.field(default="", name="caBundle")
    strict: bool = False


# On a GitRepo whose address a token of one workspace has set; only the manager writes it.
RESTRICTED = "fleetctl/restricted-egress"


class RepoSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan needs to know of a GitRepo; `notes` are warnings about its spec."""

    workspace: Workspace
    name: RepoName
    spec: GitRepoSpec
    labels: dict[str, str] = {}
    notes: list[Note] = []


def repo_spec(document: dict[str, Any], *, file: str = "GitRepo") -> RepoSpec:
    """The GitRepo `document` (apiVersion, kind, metadata, spec), with its warnings. Raises
    InvalidFile or UsageError.
    """
    meta = document.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = _text(meta, "name")
    origin = Origin(f"{file} {name}", under=("spec",), table=GITREPO)
    spec = gitrepo_spec(document.get("spec"), origin)
    workspace = Workspace(_text(meta, "namespace") or "fleet-default")
    return RepoSpec(
        workspace=workspace,
        name=RepoName(name),
        spec=spec,
        labels=labels_of(meta),
        notes=origin.notes,
    )


def gitrepo_spec(value: Any, origin: Origin) -> GitRepoSpec:
    """Raises InvalidFile."""
    if not isinstance(value, dict | None):
        raise origin.error("spec is not a map of keys", (), "Write `repo:` below `spec:`.")
    strict = named_value(value or {}, "strict") is True
    origin = Origin(origin.file, origin.places, origin.under, origin.table, strict, origin.notes)
    spec = convert(without_effect("GitRepo", value or {}, origin), GitRepoSpec, origin)
    spec = msgspec.structs.replace(spec, repo=without_public_user(spec.repo))
    for at, target in enumerate(spec.targets or []):
        if target.states_no_criterion:
            summary = (
                f"target {target.name or '(without a name)'} states no criterion and would match no"
                " cluster"
            )
            raise origin.error(
                summary, ("targets", at), "Write `clusterSelector: {}` for all clusters."
            )
    return spec


def named_value(mapping: dict[str, Any], key: str) -> Any:
    """The value of `key` in any letter case."""
    return next((item for name, item in mapping.items() if name.lower() == key.lower()), None)


def labels_of(meta: dict[str, Any]) -> dict[str, str]:
    """The labels of an object as text."""
    labels = meta.get("labels")
    return {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def _text(meta: dict[str, Any], key: str) -> str:
    value = meta.get(key)
    return value if isinstance(value, str) else ""
