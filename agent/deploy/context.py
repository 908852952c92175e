"""The collaborators of a release operation: cluster, helm, journal, and the rights in effect."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetctl.core.model.wire import DesiredBundle
from fleetctl.tools.helm import Helm
from fleetctl.tools.isolation.sandbox import Sandbox
from fleetctl.tools.kustomize import Kustomize

from ..controlplane.client import Uplink
from ..kube.client import Kube
from ..kube.impersonation import Rights
from ..release.helm_lock import HelmLock
from ..release.namespaces import DEFAULT_RULES, NamespaceRules
from ..release.repair import ReleaseRepair
from ..state.journal import Journal
from ..state.last_applied import LastApplied


@dataclass(frozen=True)
class ReleaseContext:
    """What a release operation works with. `kube` and `helm` use the agent's own rights until
    `acting_for` returns a context with the rights of a bundle.

    `seconds`: the deadline of one run of a tool. `sandbox`: reads templates, archives and YAML
    that come from a repository.
    """

    uplink: Uplink
    journal: Journal
    last_applied: LastApplied
    helm: Helm
    kube: Kube
    kustomize: Kustomize | None
    state_dir: Path
    rights: Rights
    repair: ReleaseRepair
    helm_lock: HelmLock
    seconds: float = 90.0
    sandbox: Sandbox = field(default_factory=Sandbox)
    namespace_rules: NamespaceRules = DEFAULT_RULES

    async def kube_of(self, bundle: DesiredBundle) -> Kube:
        """The cluster with the rights of the bundle's service account. Raises MissingAccount,
        ClusterUnreachable.
        """
        return await self.rights.kube_of(bundle.options)

    async def acting_for(self, account: str | None) -> ReleaseContext:
        """Return a copy whose kube and helm use the rights of a service account. Raises
        MissingAccount, ClusterUnreachable.
        """
        user = await self.rights.user_of(account or "")
        return replace(self, kube=self.rights.kube.acting_as(user), helm=self.helm.acting_as(user))
