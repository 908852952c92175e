"""Whose rights a bundle is handled with: the service account that its options name, else
`fleet-default` where it exists, else the agent.

Rule: everything that is read or written for a bundle goes through the Kube and the Helm of its
account; a named account that does not exist stops the bundle. As in Fleet, accounts live in one
namespace, which whoever runs the agent chooses, so that no repository can make one (rancher/fleet
`internal/helmdeployer/impersonate.go`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fleetctl.core.formats.url_path import in_namespace
from fleetctl.core.model.errors import ForbiddenRequest, MissingAccount, NotFound, UsageError
from fleetctl.core.model.ids import is_name
from fleetctl.core.model.options import Options

from .client import Kube

NAMESPACE = "cattle-fleet-system"
DEFAULT_ACCOUNT = "fleet-default"
_KNOWN_SECONDS = 30.0


class Rights:
    """`namespace`: where the accounts are; `clock`: seconds that only grow. That an account exists
    is believed for 30 s, that one is missing is not: who makes it need not wait.
    """

    def __init__(
        self, kube: Kube, namespace: str = NAMESPACE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.kube, self._namespace, self._clock = kube, namespace, clock
        self._accounts: dict[str, tuple[bool, float]] = {}

    async def user_of(self, account: str) -> str:
        """`system:serviceaccount:NS:NAME` for the account that a bundle names ("" for none); "" for
        the agent's own rights. Raises MissingAccount, ForbiddenRequest, UsageError,
        ClusterUnreachable.
        """
        if not self.kube.is_there:
            return self._refuse_account(account)
        if account and not is_name(account):
            raise UsageError(
                f"{account[:80]!r} cannot be a service account",
                subject="serviceAccount",
                next_step="Correct it.",
            )
        name = account or DEFAULT_ACCOUNT
        if await self._exists(name):
            return f"system:serviceaccount:{self._namespace}:{name}"
        if not account:
            return ""
        description = f"service account {self._namespace}/{name}"
        step = (
            f"Create it (kubectl create serviceaccount {name} -n {self._namespace}) and"
            " grant it the rights that the bundle needs."
        )
        raise MissingAccount(f"{description} does not exist", subject=description, next_step=step)

    async def kube_of(self, options: Options | None) -> Kube:
        """The cluster with the rights that a bundle of these options has. Raises as `user_of`."""
        return self.kube.acting_as(
            await self.user_of((options.service_account if options else None) or "")
        )

    def _refuse_account(self, account: str) -> str:
        if account:
            step = "Remove it: the program that applies the directory uses its rights."
            raise UsageError(
                "a directory target cannot act as a service account",
                subject="serviceAccount",
                next_step=step,
            )
        return ""

    async def _exists(self, name: str) -> bool:
        """Of the default account also that it is missing is believed for a while: every bundle
        without an account asks.
        """
        exists, at = self._accounts.get(name, (False, float("-inf")))
        if (exists or name == DEFAULT_ACCOUNT) and self._clock() - at < _KNOWN_SECONDS:
            return exists
        try:
            await self.kube.call("GET", in_namespace(self._namespace, "serviceaccounts", name))
            account_exists = True
        except NotFound:
            account_exists = False
        # somebody who made the default account relies on it: not to know is not that it is missing
        except ForbiddenRequest as error:
            description = f"service account {self._namespace}/{name}"
            step = f"Grant the agent `get` of serviceaccounts in namespace {self._namespace}."
            raise ForbiddenRequest(
                f"the agent may not see whether {description} exists",
                subject=description,
                next_step=step,
            ) from error
        self._accounts[name] = (account_exists, self._clock())
        return account_exists
