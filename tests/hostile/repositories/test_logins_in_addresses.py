"""A password in an address is refused, and never shown, logged or repeated."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.model.errors import UsageError
from fleetctl.core.scan.problems import ScanProblem
from manager import log
from manager.api.problems import answer as problem
from manager.config import parse
from manager.plans.planner import PlanQuery
from manager.service import Service
from manager.store.schema import objects
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import MAP, add, gitrepo, run, scanned
from tests.support.waiting import until

CANARY = "CANARY-9f2c"
URL = f"https://joe:{CANARY}@git.invalid/x.git"
LOGINS = (
    URL,
    URL.replace("joe:", ""),
    f"https://git.invalid/x?token={CANARY}",
    f"https://git.invalid/x?jwt={CANARY}",
    f"https://git.invalid/x?%74oken={CANARY}",
    f"https://git.invalid/x#auth={CANARY}",
    f"//joe:{CANARY}@git.invalid/x",
    f"https:/joe:{CANARY}@git.invalid/x",
    f"https://{CANARY}@dev.azure.com/org/project/_git/repo",
    "https://***@git.invalid/x.git",
)


def test_a_gitrepo_with_a_login_in_its_address_is_refused(tmp_path: Path) -> None:
    """When it is applied, tried or planned; one that an older version stored is shown without
    it.
    """

    async def work(service: Service) -> None:
        for url in LOGINS:
            for dry_run in (False, True):
                with pytest.raises(UsageError, match="carries a login") as caught:
                    await service.objects.put(
                        "GitRepo", "fleet-default", "a", gitrepo(url, "a"), dry_run=dry_run
                    )
                assert CANARY not in str(caught.value)
                assert "clientSecretName" in caught.value.next_step
        with pytest.raises(UsageError, match="carries a login"):
            await service.plans.plan(
                PlanQuery(workspace="fleet-default", name="a", document=gitrepo(URL, "a"))
            )
        for rest in (f"?x={CANARY}", f"?{CANARY}", f"#{CANARY}", f"?ref=v1;{CANARY}"):
            document = gitrepo(f"https://git.invalid/x{rest}", "a")
            with pytest.raises(UsageError, match="a query or a fragment") as caught:
                await service.objects.put("GitRepo", "fleet-default", "a", document, dry_run=False)
            assert CANARY not in str(caught.value)
        await add(service, "https://git.invalid/x.git", "a", disablePolling=True)
        stored = msgspec.json.encode({"repo": URL})
        note = msgspec.json.encode(
            {"kubectl.kubernetes.io/last-applied-configuration": f'{{"spec":{{"repo":"{URL}"}}}}'}
        )
        update = (
            sa.update(objects)
            .where(objects.c.kind == "GitRepo")
            .values(spec=stored, annotations=note)
        )
        await service._store.write(lambda c: c.execute(update))
        await service.gitrepos.sync("fleet-default", "a")
        seen = await until(
            lambda: service.views.get_object("GitRepo", "fleet-default", "a"),
            lambda r: r["status"]["error"],
        )
        answers = [
            seen,
            await service.views.list_objects("GitRepo"),
            await service.views.status(None),
        ]
        assert CANARY.encode() not in msgspec.json.encode(answers)
        assert seen["spec"]["repo"] == "https://***@git.invalid/x.git"

    run(tmp_path / "data", work)


@pytest.mark.parametrize(
    "helm",
    [
        {"chart": "web", "repo": f"https://x:{CANARY}@h.invalid"},
        {"chart": f"oci://{CANARY}@h.invalid/web"},
    ],
)
def test_a_login_in_a_chart_address_stops_its_bundle_alone(
    tmp_path: Path, clone: Clone, helm: dict[str, Any]
) -> None:
    fleet_yaml = f"helm: {msgspec.json.encode(helm).decode()}\n"
    commit = clone.push({"bad/fleet.yaml": fleet_yaml, "good/m.yaml": MAP.format(name="a")})

    async def work(service: Service) -> None:
        await add(service, clone.url, paths=["bad", "good"])
        seen = await scanned(service, commit)
        [found] = seen["status"]["problems"]
        assert "carries a login" in found["summary"]
        assert "helmSecretName" in found["next_step"]
        assert CANARY.encode() not in msgspec.json.encode(seen)
        assert [b["metadata"]["name"] for b in await service.views.list_objects("Bundle")] == [
            "apps-good"
        ]

    run(tmp_path / "data", work)


def test_a_mirror_with_a_login_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="carries a login") as caught:
        parse(["serve", "--data-dir", str(tmp_path), "--mirror", f"https://a/={URL}"])
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("as_json", [True, False])
def test_logs_and_answers_cut_logins(as_json: bool) -> None:
    """In fields, in traces and in the texts of errors."""
    error = ValueError(f"cannot read {URL}")
    record = logging.LogRecord("m", logging.INFO, "", 0, "event", None, (ValueError, error, None))
    record.fields = {"url": URL, "count": 3}
    line = log._Formatter(as_json=as_json).format(record)
    assert CANARY not in line
    assert "git.invalid" in line
    assert (
        CANARY.encode()
        not in problem(UsageError(f"{URL} is odd", subject=URL, next_step=f"Look at {URL}.")).body
    )


def test_the_address_that_azure_devops_gives_is_taken(tmp_path: Path) -> None:
    """Its user repeats the organization: it is shown as written, and never sent as a login."""
    url = "https://org@dev.azure.com/org/project/_git/repo"
    spec = repo_spec(gitrepo(url, "a")).spec
    assert spec.repo == url.replace("org@", "")

    async def work(service: Service) -> None:
        document = gitrepo(url, "a") | {
            "spec": {"repo": url, "paused": True, "disablePolling": True}
        }
        await service.objects.put("GitRepo", "fleet-default", "a", document, dry_run=False)
        seen = await service.views.get_object("GitRepo", "fleet-default", "a")
        assert seen["spec"]["repo"] == url

    run(tmp_path / "data", work)


def test_problems_of_a_scan_show_no_secrets() -> None:
    problem = ScanProblem(
        path="a",
        code="x",
        summary=f"chart https://h.invalid/x.tgz?k={CANARY}: no",
        next_step=f"Ask {URL}.",
    )
    assert CANARY not in problem.summary + problem.next_step
    assert "h.invalid" in problem.summary
