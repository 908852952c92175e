"""Which addresses of Git repositories can be followed: http and https. Pure; nothing is looked
up.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from fleetctl.core.formats.redact import redacted_login, refuse_login
from fleetctl.core.model.errors import UsageError

# git's short form of an SSH address, `user@host:path` (git-clone(1), "GIT URLS").
_SCP = re.compile(r"[\w.-]+@[\w.-]+:")


def check_git_url(url: str, subject: str) -> None:
    """Raises UsageError for an address that no fetch can ever work with."""
    scheme = urlsplit(url).scheme.lower() if "://" in url else ""
    if scheme in {"ssh", "git+ssh"} or (not scheme and _SCP.match(url)):
        step = (
            "Use the https address of the repository, with --username and --password-stdin if it is"
            " private."
        )
        raise UsageError(
            "a repository over SSH is not supported in this version",
            subject=subject,
            next_step=step,
        )
    if scheme not in {"http", "https"} or not urlsplit(url).hostname:
        step = "Write it as https://HOST/PATH."
        raise UsageError(
            "the address is not an http or https address", subject=subject, next_step=step
        )


def refuse_secrets(url: str, subject: str, next_step: str) -> None:
    """Raises UsageError for a Git address that carries a login, or another text that may be one.

    A query or fragment is not sent to a Git server, so all but plain values of known keys are
    refused.
    """
    refuse_login(url, subject, next_step)
    if redacted_login(url) != url:
        summary = f"the address {redacted_login(url)[:200]} has a query or a fragment"
        step = (
            "Remove it: Git servers do not receive it, and each reader of the GitRepo would see it."
        )
        raise UsageError(summary, subject=subject, next_step=step)
