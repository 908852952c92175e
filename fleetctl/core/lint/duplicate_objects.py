"""Findings for objects that the manifests of a bundle state twice."""

from __future__ import annotations

from fleetctl.core.documents.fleet_yaml import parse
from fleetctl.core.filetree.tree import Index, contents
from fleetctl.core.lint.codes import RULES
from fleetctl.core.lint.engine import Finding, silenced_codes
from fleetctl.core.model.errors import FleetError
from fleetctl.core.rendering.duplicate_objects import CODE, NEXT_STEP, find_duplicates


def lint_duplicates(text: bytes, *, tree: Index, directory: str, folder: str = "") -> list[Finding]:
    """The findings of the bundle at `directory` of `tree`, whose fleet.yaml is `text`. Never
    raises.

    folder: the text before the path of a file in a finding, with its last slash.
    """
    try:
        options = parse(text).options
        files = contents(tree, directory, {"fleet.yaml", "fleet.yml"}).files
    except FleetError:
        return []  # `lint` and `refusals` report it
    return [
        Finding(
            severity=RULES[CODE].severity,
            code=CODE,
            file=folder + duplicate.file,
            line=duplicate.place.line,
            column=duplicate.place.column,
            path="kind",
            summary=duplicate.describe(folder),
            next_step=NEXT_STEP,
        )
        for duplicate in find_duplicates(files, options)
        if CODE not in silenced_codes(files[duplicate.file].data).get(duplicate.place.line, ())
    ]
