"""Builds the error for an object that does not exist, with the name that was probably meant.

Only names of the same workspace are compared: a person may not be allowed to see other workspaces.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleetctl.core.model.errors import NotFound
from fleetctl.core.text.suggest import close_words

from ..store.connection import Reader
from ..store.queries.objects import list_names

MAX_NAMES = 5000  # names that are compared
_SIMILARITY = 0.7


def not_found(reader: Reader, kind: str, workspace: str, name: str) -> NotFound:
    """For any kind, also those that have no table of their own."""
    step = f"See `fleetctl get {kind.lower()}s -n {workspace}`."
    # BundleDeployments are named CLUSTER.BUNDLE: too many to compare
    names = [] if kind == "BundleDeployment" else list_names(reader, kind, workspace, MAX_NAMES)
    if near := nearest_name(name, names, cutoff=_SIMILARITY):
        step = f"Did you mean {near}? {step}"
    summary = f"{kind} {name} does not exist in workspace {workspace}"
    return NotFound(summary, subject=f"{kind} {workspace}/{name}", next_step=step)


def nearest_name(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """The most similar of the names, "" when none is similar."""
    return next(iter(close_words(name, names, cutoff=cutoff)), "")
