"""What a chart may ask of its cluster: the version of Kubernetes, and API versions.

helm's own flags and meanings. Without a cluster helm takes the Kubernetes version that it was built
with and the API versions of that one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from fleetctl.core.model.errors import UsageError

_KUBE_VERSION = re.compile(r"v?\d+\.\d+(\.\d+)?([-+][0-9A-Za-z.+-]{1,60})?")
_API_VERSION = re.compile(r"[A-Za-z0-9.-]{1,253}(/[A-Za-z0-9.-]{1,63}){0,2}")


class Capabilities(msgspec.Struct, frozen=True):
    """`kube_version` "": helm's own. `api_versions` are added to those of that version."""

    kube_version: str = ""
    api_versions: tuple[str, ...] = ()


HELM_DEFAULT = Capabilities()


def parse_capabilities(kube_version: str, api_versions: Sequence[str]) -> Capabilities:
    """From `--kube-version` and `--api-versions`, commas allowed as in helm. Raises UsageError."""
    if kube_version and not _KUBE_VERSION.fullmatch(kube_version):
        summary = f"{kube_version!r} is not a version of Kubernetes"
        raise UsageError(
            summary, subject="--kube-version", next_step="Write it like 1.31 or v1.31.4."
        )
    names = [part.strip() for text in api_versions for part in text.split(",")]
    for name in names:
        if not _API_VERSION.fullmatch(name):
            step = "Write GROUP/VERSION or GROUP/VERSION/KIND, such as example.com/v1/Widget."
            raise UsageError(
                f"{name!r} is not an API version", subject="--api-versions", next_step=step
            )
    return Capabilities(kube_version, tuple(dict.fromkeys(names)))


def capabilities_of_version(kube_version: str) -> Capabilities:
    """Those of a cluster by its agent's report; a text that helm would not take counts as none."""
    return Capabilities(kube_version if _KUBE_VERSION.fullmatch(kube_version) else "")
