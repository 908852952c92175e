"""What an agent works with: the cluster, helm, the journal, and whose rights it acts with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetctl.core.model.wire import DesiredBundle
from fleetctl.tools.helm import Helm
from fleetctl.tools.isolation.sandbox import Sandbox
from fleetctl.tools.kustomize import Kustomize

from ..controlplane.client import Uplink
from ..drift.observer import Wanted
from ..kube.client import Kube
from ..kube.impersonation import Rights
from ..release.helm_lock import Fence
from ..release.repair import Settler
from ..state.journal import Journal


@dataclass(frozen=True)
class Hands:
    """What an action works with. `kube` and `helm` have the agent's own rights until `acting_for`
    gives them those of a bundle.

    `seconds`: the deadline of one run of a tool. `sandbox`: where foreign templates, archives and
    YAML are read.
    """

    uplink: Uplink
    journal: Journal
    wanted: Wanted
    helm: Helm
    kube: Kube
    kustomize: Kustomize | None
    state_dir: Path
    rights: Rights
    settler: Settler
    fence: Fence
    seconds: float = 90.0
    sandbox: Sandbox = field(default_factory=Sandbox)

    async def kube_of(self, bundle: DesiredBundle) -> Kube:
        """The cluster with the rights of the bundle's service account. Raises MissingAccount,
        ClusterUnreachable.
        """
        return await self.rights.kube_of(bundle.options)

    async def acting_for(self, account: str | None) -> Hands:
        """These hands with the rights of a service account: its kube and its helm. Raises
        MissingAccount, ClusterUnreachable.
        """
        user = await self.rights.user_of(account or "")
        return replace(self, kube=self.rights.kube.acting_as(user), helm=self.helm.acting_as(user))
