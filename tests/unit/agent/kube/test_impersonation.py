"""Whose rights a bundle is handled with, against an API server of a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from agent.kube.client import Kube
from agent.kube.discovery import Discovery
from agent.kube.impersonation import Rights
from agent.kube.no_cluster import NoCluster
from fleetctl.core.model.errors import ForbiddenRequest, MissingAccount, NotFound, UsageError
from fleetctl.core.model.options import Options


class Accounts(Kube):
    """A cluster that has these service accounts and counts the questions."""

    def __init__(self, *names: str) -> None:
        self.discovery = Discovery(self)
        self.names, self.asked = set(names), 0

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        self.asked += 1
        if (
            path.removeprefix("/api/v1/namespaces/cattle-fleet-system/serviceaccounts/")
            not in self.names
        ):
            raise NotFound(f"{path} does not exist")
        return {}


def user(rights: Rights, account: str) -> str:
    return asyncio.run(rights.user_of(account))


def test_a_named_account_is_the_one_in_the_accounts_namespace() -> None:
    """Its name says where it lives, and the Kube for it carries it."""
    rights = Rights(Accounts("web"))
    assert user(rights, "web") == "system:serviceaccount:cattle-fleet-system:web"
    kube = asyncio.run(rights.kube_of(Options(service_account="web")))
    assert kube.user == "system:serviceaccount:cattle-fleet-system:web"


def test_a_missing_account_is_named() -> None:
    """The bundle is not deployed with other rights instead."""
    with pytest.raises(MissingAccount) as caught:
        user(Rights(Accounts("fleet-default")), "web")
    assert caught.value.summary == "service account cattle-fleet-system/web does not exist"
    assert caught.value.code == "service-account"


def test_without_a_name_the_default_account_counts_where_it_exists() -> None:
    """As in Fleet; else the agent's own rights."""
    assert (
        user(Rights(Accounts("fleet-default")), "")
        == "system:serviceaccount:cattle-fleet-system:fleet-default"
    )
    assert user(Rights(Accounts()), "") == ""


def test_the_api_server_is_asked_now_and_then() -> None:
    """A hundred bundles without an account cost one question in 30 s; an account that is made is
    seen at once.
    """
    now = [0.0]
    kube = Accounts()
    rights = Rights(kube, clock=lambda: now[0])
    for _ in range(100):
        assert user(rights, "") == ""
    assert kube.asked == 1
    with pytest.raises(MissingAccount):
        user(rights, "web")
    kube.names |= {"web", "fleet-default"}
    assert user(rights, "web")
    assert user(rights, "") == ""
    now[0] = 31.0
    assert user(rights, "") == "system:serviceaccount:cattle-fleet-system:fleet-default"


def test_not_to_see_is_not_that_it_is_missing() -> None:
    """An agent that may not look goes on with nobody's rights."""

    class Blind(Kube):
        def __init__(self) -> None:
            pass

        async def call(
            self,
            method: str,
            path: str,
            body: bytes = b"",
            headers: Mapping[str, str] | None = None,
        ) -> dict[str, Any]:
            raise ForbiddenRequest("no")

    with pytest.raises(
        ForbiddenRequest,
        match="may not see whether service account cattle-fleet-system/fleet-default exists",
    ):
        user(Rights(Blind()), "")


def test_a_directory_cannot_act_as_anybody() -> None:
    """What narrows rights is refused where it cannot be kept."""
    rights = Rights(NoCluster())
    assert user(rights, "") == ""
    with pytest.raises(UsageError):
        user(rights, "web")


def test_a_name_that_is_none_is_refused() -> None:
    """It would stand in a path."""
    with pytest.raises(UsageError):
        user(Rights(Accounts()), "../secrets/x")
