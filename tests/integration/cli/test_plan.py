"""fleetctl plan as a person and a pipeline run it: forms, exit statuses, and what stands in the
way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetctl.core.formats.bundle_archive import pack
from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import NotFound, SourceError, UsageError
from fleetctl.core.rollout.impact import (
    Impact,
    ImpactGroup,
    Plan,
    PlanFacts,
    PlanTrouble,
    PlanWait,
    Removals,
    Side,
    Stage,
    What,
)
from tests.support.cli.person import HOSTILE, Person, Shop, surroundings
from tests.support.cli.process import login_in, on_terminal
from tests.support.kube import tool_env

__all__ = ["tool_env"]
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{a: '{value}'}}\n"


@pytest.fixture(autouse=True)
def tools(tool_env: dict[str, str]) -> Iterator[None]:
    with surroundings(PATH=tool_env["PATH"]):
        yield


def archive(shop: Shop, files: dict[str, str]) -> Any:
    return shop.service.keep(pack({path: File(text.encode()) for path, text in files.items()}))


def change(shop: Shop, **other: Any) -> Plan:
    """One bundle, one file, three clusters."""
    old = Side(archive=archive(shop, {"m.yaml": MAP.format(value=1)}), options="k")
    new = Side(archive=archive(shop, {"m.yaml": MAP.format(value=2)}), options="k")
    group = ImpactGroup(
        what=What.CHANGED,
        why=["files"],
        clusters=3,
        names=["a", "b", "c"],
        representative="a",
        old=old,
        new=new,
    )
    stages = [
        Stage(name="canary", clusters=1, told=1, at_once=1),
        Stage(name="(rest)", clusters=2, told=2, at_once=1, approval=True),
    ]
    impact = Impact(
        bundle="apps-web",
        path="web",
        what=What.CHANGED,
        clusters=3,
        had=3,
        groups=[group],
        stages=stages,
    )
    said = {
        "workspace": "fleet-default",
        "gitrepo": "apps",
        "commit": "b" * 40,
        "before": "a" * 40,
        "ref": "branch next",
    }
    more = {
        "bundles": [impact],
        "clusters": 3,
        "options": {"k": msgspec.Raw(b"{}")},
        "facts": {"a": PlanFacts()},
    }
    return Plan(**{**said, **more, **other})


@pytest.fixture
def repo(shop: Shop) -> Shop:
    shop.service.give(
        "GitRepo", "apps", spec={"repo": "https://git.example/apps", "paths": ["web"]}
    )
    shop.service.planned = None
    return shop


class TestForms:
    def test_a_person_reads_it(self, person: Person, repo: Shop):
        """What changes, where, in which order; exit status 1."""
        repo.service.planned = change(repo)
        done = person.run("plan", "apps", "--branch", "next")
        assert done.status == 1
        for text in (
            (
                "GitRepo fleet-default/apps: branch next at bbbbbbbbbbbb; the fleet follows"
                " aaaaaaaaaaaa"
            ),
            "3 clusters are deployed again (a, b, c): files",
            "rollout 1: canary: 1 cluster, all at once",
            "rollout 2: after approval, (rest): 2 clusters, 1 at once",
            "-  a: '1'",
            "+  a: '2'",
            "1 bundle: 1 changed. Deployments: 3 deployed again on 3 clusters.",
        ):
            assert text in done.out
        assert "\x1b" not in done.out
        assert "plan fleet-default/apps branch next" in repo.service.calls

    def test_for_programs(self, person: Person, repo: Shop):
        """JSON and YAML hold all of it but what it takes to render; names are names of bundles."""
        repo.service.planned = change(repo)
        done = person.run("plan", "apps", "-o", "json")
        assert done.status == 1, done
        found = json.loads(done.out)
        group = found["bundles"][0]["groups"][0]
        assert (
            group["clusters"],
            group["rendered"],
            group["changes"][0]["kind"],
            group["changes"][0]["what"],
        ) == (
            3,
            True,
            "ConfigMap",
            "changed",
        )
        assert "+  a: '2'" in group["changes"][0]["diff"]
        assert found["refused"] == ""
        assert not {"options", "facts"} & set(found)
        assert "gitrepo: apps" in person.run("plan", "apps", "-o", "yaml").out
        assert person.run("plan", "apps", "-o", "name").out == "bundle/apps-web\n"
        assert person.run("plan", "apps", "-o", "wide").status == 1

    def test_for_a_pull_request(self, person: Person, repo: Shop):
        """A table, sections that unfold, and a first line that a program finds."""
        repo.service.planned = change(repo)
        text = person.run("plan", "apps", "-o", "markdown").out
        assert text.startswith("<!-- fleetctl plan fleet-default/apps -->\n### Plan: ")
        assert "| apps-web | changed | 3 | 3 | 0 | 0 | 2 partitions |" in text
        assert "```diff\n--- apps-web: ConfigMap web (before)" in text
        assert text.count("<details>") == text.count("</details>") == 1

    def test_80_columns(self, repo: Shop, tmp_path: Path, tool_env: dict[str, str]):
        """The table fits; differences are coloured on a terminal only."""
        long = [PlanWait(code="paused", text="its rollout is paused: " + "freeze " * 20)]
        plan = change(repo)
        repo.service.planned = msgspec.structs.replace(
            plan, bundles=[msgspec.structs.replace(plan.bundles[0], waits=long)]
        )
        env = login_in(tmp_path / "t", repo) | {"PATH": tool_env["PATH"]}
        status, screen = on_terminal(env, "plan", "apps")
        assert status == 1
        plain = re.sub(r"\x1b\[\d*m", "", screen)
        table = plain[plain.index("BUNDLE") : plain.index("apps-web (changed")]
        assert all(len(line) <= 80 for line in table.replace("\r", "").split("\n"))
        assert "\x1b[32m+  a: '2'\x1b[0m" in screen

    def test_hostile_text_steers_nothing(self, person: Person, repo: Shop):
        """Neither a terminal nor a comment."""
        plan = change(repo)
        impact = msgspec.structs.replace(plan.bundles[0], waits=[PlanWait(code="x", text=HOSTILE)])
        repo.service.planned = msgspec.structs.replace(
            plan, bundles=[impact], warnings=[PlanTrouble(path="", code="w", summary=HOSTILE)]
        )
        for form in ("table", "markdown", "json", "yaml"):
            done = person.run("plan", "apps", "-o", form)
            assert not any(c in done.out + done.err for c in "\x1b\u202e\r"), form


class TestExitStatus:
    def test_nothing_changes(self, person: Person, repo: Shop):
        """0."""
        assert "Nothing changes" in person.good("plan", "apps")

    def test_exit_zero(self, person: Person, repo: Shop):
        """For a pipeline that only wants the text; what is wrong is still wrong."""
        repo.service.planned = change(repo)
        assert "1 changed" in person.good("plan", "apps", "--exit-zero")
        repo.service.planned = change(
            repo,
            problems=[
                PlanTrouble(
                    path="web", code="invalid-file", summary="web/fleet.yaml:2:3: unknown key"
                )
            ],
        )
        assert person.run("plan", "apps", "--exit-zero").status == 2

    def test_all_problems_are_listed(self, person: Person, repo: Shop):
        """With file and line; 2."""
        troubles = [
            PlanTrouble(
                path=p,
                code="invalid-file",
                summary=f"{p}/fleet.yaml:2:3: unknown key `x`",
                next_step="Correct it.",
            )
            for p in "ab"
        ]
        repo.service.planned = change(repo, problems=troubles)
        done = person.run("plan", "apps")
        assert done.status == 2
        assert "error: a/fleet.yaml:2:3" in done.err
        assert "error: b/fleet.yaml:2:3" in done.err

    def test_too_many_deletes(self, person: Person, repo: Shop):
        """3, until exactly the number is said; the plan is shown first."""
        gone = Removals(
            deployments=412, of_deployments=1000, refused="412 of 1000 deployments would be removed"
        )
        repo.service.planned = change(repo, removals=gone)
        done = person.run("plan", "apps")
        assert (done.status, "412 of 1,000 deployments would be removed" in done.out) == (3, True)
        assert "--yes-delete 412" in done.err
        for amount, status in (("411", 3), ("412", 1), ("0", 3)):
            assert person.run("plan", "apps", "--yes-delete", amount).status == status
        assert "> **Refused:**" in person.run("plan", "apps", "-o", "markdown").out

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (
                NotFound(
                    "https://git.example/apps has no branch nxet",
                    subject="x",
                    next_step="Valid names are, for example, next.",
                ),
                2,
            ),
            (UsageError("no"), 2),
            (SourceError("git.example cannot be read: refused"), 5),
        ],
    )
    def test_what_git_says(self, person: Person, repo: Shop, error: Exception, status: int):
        """A branch that there is not is not "something changes"."""
        repo.service.broken = error
        done = person.run("plan", "apps", "--branch", "nxet")
        assert (done.status, done.out) == (status, "")
        assert str(error) in done.err

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("nothing",), "no GitRepo nothing"),
            ((), "no GitRepo is named"),
            ((".",), "plan GITREPO --local ."),
            (("apps", "--branch", "a", "--commit", "b"), "exclude one another"),
            (("apps", "--local", "/nonexistent"), "no folder"),
            (("apps", "-f", "/nonexistent"), "cannot be read"),
            (("apps", "--yes-delete", "many"), "whole number"),
            (("apps", "-o", "csv"), "is not one of"),
        ],
    )
    def test_a_wrong_command_line(
        self, person: Person, repo: Shop, words: tuple[str, ...], says: str
    ):
        """Always 2, never 1."""
        done = person.run("plan", *words)
        assert done.status == 2, done
        assert says in done.err

    def test_nobody_answers(self, person: Person, repo: Shop):
        """A manager that is not there is 5; no login is 4."""
        text = person.config.read_text().replace(repo.url, "https://127.0.0.1:1")
        person.config.write_text(text)
        assert person.run("plan", "apps").status == 5
        assert Person(person.config.parent / "nobody").run("plan", "apps").status == 4


class TestWhatIsShown:
    def test_without_helm_files_are_shown(self, person: Person, repo: Shop, tmp_path: Path):
        """A chart that cannot be rendered here: file by file, with a hint, and no Secret among
        them.
        """
        files = {
            "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
            "templates/m.yaml": MAP.format(value=1),
        }
        secret = "kind: Secret\napiVersion: v1\nmetadata: {{name: s}}\nstringData: {{p: {value}}}\n"
        old = archive(repo, files | {"templates/s.yaml": secret.format(value="hunter2")})
        new = archive(
            repo,
            files
            | {
                "templates/m.yaml": MAP.format(value=2),
                "templates/s.yaml": secret.format(value="hunter3"),
            },
        )
        plan = change(repo)
        group = plan.bundles[0].groups[0]
        group = msgspec.structs.replace(
            group, old=Side(archive=old, options="k"), new=Side(archive=new, options="k")
        )
        repo.service.planned = msgspec.structs.replace(
            plan, bundles=[msgspec.structs.replace(plan.bundles[0], groups=[group])]
        )
        (tmp_path / "empty").mkdir()
        with surroundings(
            PATH=str(tmp_path / "empty"), XDG_CACHE_HOME=str(tmp_path), KUBEBUILDER_ASSETS=""
        ):
            done = person.run("plan", "apps")
        assert done.status == 1, done
        assert "files are shown instead of rendered objects" in done.err
        assert "+data: {a: '2'}" in done.out
        assert "it may contain a Secret" in done.out
        assert "hunter" not in done.out + done.err
        shown = person.run("plan", "apps")
        assert "hunter" not in shown.out
        assert "*** (after)" in shown.out
        assert "hunter3" in person.run("plan", "apps", "--show-secrets").out

    def test_counts_only(self, person: Person, repo: Shop):
        """--no-diff fetches and renders nothing."""
        plan = change(repo)
        side = Side(archive="0" * 64, options="k")
        group = msgspec.structs.replace(plan.bundles[0].groups[0], old=side, new=side)
        repo.service.planned = msgspec.structs.replace(
            plan, bundles=[msgspec.structs.replace(plan.bundles[0], groups=[group])]
        )
        assert person.run("plan", "apps", "--no-diff").status == 1
        done = person.run("plan", "apps")
        assert (done.status, "no such archive" in done.err) == (2, True)

    def test_a_folder_is_scanned_here(self, person: Person, repo: Shop, tmp_path: Path):
        """Only digests are sent; a file that is wrong is a problem with its place."""
        (tmp_path / "r" / "web").mkdir(parents=True)
        (tmp_path / "r" / "web" / "m.yaml").write_text(MAP.format(value=1))
        assert person.run("plan", "apps", "--local", str(tmp_path / "r")).status == 0
        document = tmp_path / "gitrepo.yaml"
        document.write_text(
            "kind: GitRepo\nmetadata: {name: other}\nspec: {repo: https://git.example/x, paths:"
            " [web]}\n"
        )
        assert person.run("plan", "-f", str(document), "--path", str(tmp_path / "r")).status == 0
        assert "plan fleet-default/other" in repo.service.calls
        done = person.run("plan", "apps", "-f", str(document))
        assert (done.status, "is GitRepo other" in done.err) == (2, True)
        assert [path.name for path in (tmp_path / "r").iterdir()] == ["web"]
