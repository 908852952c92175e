"""Versions of tools as they print them themselves.

Rule: what is printed is not trusted. No answer in time, no number in it, a crash: the version is
None and the tool is passed over.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

ASK_SECONDS = 15.0
# Four numbers in a row are an address, not a version: a warning that names 127.0.0.1 must not
# count.
_NUMBER = r"(?<![\w.])v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?!\d|\.\d)"


@dataclass(frozen=True, order=True)
class Version:
    """Major, minor, patch. Suffixes such as ``+k8s`` or ``-dispatcher`` are dropped: they never
    decide.
    """

    major: int
    minor: int = 0
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def parse(text: str, after: str = "") -> Version | None:
    """The first version number in ``text``, or the first that follows the regular expression
    ``after``.

    ``v4.2.3+gabc``, ``kustomize/v5.0.1``, ``Kubernetes v1.36.1`` and ``etcd Version: 3.7.3`` are
    all understood.
    """
    start = re.search(after, text) if after else None
    if after and start is None:
        return None
    found = re.search(_NUMBER, text[start.end() if start else 0 :])
    if found is None:
        return None
    return Version(int(found[1]), int(found[2]), int(found[3] or 0))


def ask(argv: Sequence[str], after: str = "", seconds: float = ASK_SECONDS) -> Version | None:
    """Run ``argv`` and read the version out of its standard output; None when that does not
    work.
    """
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return parse(done.stdout.decode("utf-8", "replace"), after)
