"""Each import contract is broken once, and the check reports it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.api import read_configuration
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.contracts.protected import ProtectedContract
from importlinter.domain.contract import Contract

ROOT = Path(__file__).parents[2]
CONFIGURATION = read_configuration(str(ROOT / ".importlinter"))
CONTRACTS: list[dict[str, Any]] = CONFIGURATION["contracts_options"]
TYPES: dict[str, type[Contract]] = {
    "acyclic_siblings": AcyclicSiblingsContract,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
    "protected": ProtectedContract,
}
STRANGER = "manager.clock"  # imports nothing, and no protected module names it


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        *CONFIGURATION["session_options"]["root_packages"], include_external_packages=True
    )


def is_kept(options: dict[str, Any], graph: grimp.ImportGraph) -> bool:
    contract = TYPES[options["type"]](
        name=options["name"],
        session_options=CONFIGURATION["session_options"],
        contract_options=options,
    )
    return contract.check(deepcopy(graph), verbose=False).kept


def violation(options: dict[str, Any], graph: grimp.ImportGraph) -> tuple[str, str]:
    """An import (importer, imported) that the contract forbids."""
    kind = options["type"]
    if kind == "independence":
        first, second = options["modules"][:2]
        return first, second
    if kind == "forbidden":
        return options["source_modules"][0], options["forbidden_modules"][0]
    if kind == "protected":
        return STRANGER, options["protected_modules"][0]
    if kind == "acyclic_siblings":
        children = sorted(graph.find_children(options["ancestors"][0]))
        for importer in children:
            for imported in children:
                if importer != imported and graph.direct_import_exists(
                    importer=imported, imported=importer, as_packages=True
                ):
                    return importer, imported
    container = options["containers"][0]
    layers = [layer.split("|")[0].strip(" ()") for layer in options["layers"]]
    return f"{container}.{layers[-1]}", f"{container}.{layers[0]}"


def listed(options: dict[str, Any]) -> dict[str, Any]:
    """The options with each list of lines as a list."""
    return {
        key: [line for line in value.splitlines() if line] if isinstance(value, str) else value
        for key, value in options.items()
        if key in {"modules", "source_modules", "forbidden_modules", "layers", "ancestors"}
        or key in {"containers", "protected_modules"}
    } | {"type": options["type"]}


@pytest.mark.parametrize("options", CONTRACTS, ids=lambda options: options["name"])
def test_a_contract_is_kept_and_its_violation_is_reported(
    options: dict[str, Any], graph: grimp.ImportGraph
) -> None:
    assert is_kept(options, graph)
    importer, imported = violation(listed(options), graph)
    changed = deepcopy(graph)
    changed.add_import(importer=importer, imported=imported)
    assert not is_kept(options, changed), f"{importer} may import {imported}"


@pytest.mark.parametrize(
    "options",
    [options for options in CONTRACTS if options["type"] == "layers"],
    ids=lambda options: options["name"],
)
def test_a_module_without_a_place_breaks_its_layers(
    options: dict[str, Any], graph: grimp.ImportGraph
) -> None:
    changed = deepcopy(graph)
    changed.add_module(f"{listed(options)['containers'][0]}.without_a_place")
    assert not is_kept(options, changed)


def test_every_package_with_modules_below_has_layers() -> None:
    """The three programs and each part of fleetctl."""
    containers = {
        container
        for options in CONTRACTS
        if options["type"] == "layers"
        for container in listed(options)["containers"]
    }
    assert {"fleetctl", "fleetctl.core", "fleetctl.sources", "fleetctl.tools"} <= containers
