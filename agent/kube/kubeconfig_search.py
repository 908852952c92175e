"""Finds the kubeconfig of the cluster that this agent drives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fleetctl.core.model.errors import UsageError
from fleetctl.durable import write_whole

from ..config import Environment
from .kubeconfig import pod_kubeconfig

# Where k3s and RKE2 write their administrator's kubeconfig.
DISTRIBUTIONS = (Path("/etc/rancher/k3s/k3s.yaml"), Path("/etc/rancher/rke2/rke2.yaml"))


def find_kubeconfig(
    option: Path | None,
    enrolled_path: str,
    folder: Path,
    environment: Environment,
    distributions: Sequence[Path] = DISTRIBUTIONS,
) -> Path:
    """The first of: the option, the path that the enrolment stored, KUBECONFIG, the Pod's service
    account, k3s, RKE2, ~/.kube/config. Raises UsageError.

    Inside of a Pod it is a file in `folder`, written when it is missing or differs.
    """
    account = environment.pod_account
    enrolled_file = (
        Path(enrolled_path) if enrolled_path and Path(enrolled_path).parent != account else None
    )
    for path in (option, enrolled_file, environment.kubeconfig):
        if path is not None:
            if not path.exists():
                raise UsageError(
                    f"{path} does not exist", subject="--kubeconfig", next_step="Correct the path."
                )
            return path.absolute()
    if environment.is_in_pod:
        return _write_pod_kubeconfig(environment, folder / "kubeconfig")
    home = environment.home
    candidates = [*distributions, *([home / ".kube" / "config"] if home else [])]
    for path in candidates:
        if os.access(path, os.R_OK):
            return path
    unreadable = [path for path in candidates if path.exists()]
    if unreadable:
        summary = f"{unreadable[0]} is not readable for this user"
        raise UsageError(
            summary, subject="--kubeconfig", next_step="Run as root, or give --kubeconfig FILE."
        )
    places = ", ".join(map(str, candidates))
    step = f"Give --kubeconfig FILE, or --target-dir DIR. Looked at KUBECONFIG, {places}."
    raise UsageError("no kubeconfig was found", subject="--kubeconfig", next_step=step)


def _write_pod_kubeconfig(environment: Environment, path: Path) -> Path:
    text = pod_kubeconfig(
        environment.pod_account, environment.service_host, environment.service_port
    )
    if not path.exists() or path.read_bytes() != text:
        write_whole(path, text)
    return path.absolute()
