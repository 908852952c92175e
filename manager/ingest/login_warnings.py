"""Warnings of a scan about the logins of a GitRepo."""

from __future__ import annotations

from fleetctl.core.charts.login_scope import describe_wide_pattern
from fleetctl.core.scan.problems import ScanProblem

from .gitrepo_loader import LoadedGitRepo


def login_warnings(repo: LoadedGitRepo) -> list[ScanProblem]:
    """Warn of a login over a connection without encryption, and of a login that may go to more
    hosts than its pattern seems to name.
    """
    return [*_unencrypted_login(repo), *_wide_login(repo)]


def _unencrypted_login(repo: LoadedGitRepo) -> list[ScanProblem]:
    if (
        repo.credential is None
        or not repo.credential.username
        or not repo.spec.spec.repo.lower().startswith("http://")
    ):
        return []
    summary = (
        "user and password of the repository travel unencrypted: its address begins with http://"
    )
    step = "Use the https:// address of the repository."
    return [
        ScanProblem(
            path="", code="unencrypted-login", summary=summary, next_step=step, warning=True
        )
    ]


def _wide_login(repo: LoadedGitRepo) -> list[ScanProblem]:
    summary = describe_wide_pattern(repo.spec.spec.helm_repo_url_regex)
    if not summary or repo.helm_credential is None:
        return []
    step = "Correct helmRepoURLRegex of the GitRepo."
    return [ScanProblem(path="", code="wide-login", summary=summary, next_step=step, warning=True)]
