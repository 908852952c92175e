"""Names of kinds, and tables that survive objects without a status."""

from __future__ import annotations

import pytest

from fleetctl.cli.display.columns import COLUMNS, KINDS, plural_of, plurals_of, rank, short
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.status import State


@pytest.mark.parametrize("text", ["gr", "gitrepo", "GitRepo", "gitrepos", "GITREPOS"])
def test_all_spellings_are_one_kind(text: str):
    """As kubectl takes them."""
    assert plural_of(text) == "gitrepos"


def test_unknown_kinds_name_the_nearest():
    """Or all, when none is near."""
    with pytest.raises(UsageError) as near:
        plural_of("clustre")
    assert near.value.next_step == "Did you mean cluster?"
    with pytest.raises(UsageError) as far:
        plural_of("pod")
    assert "gitrepo add" in far.value.next_step
    with pytest.raises(UsageError, match="no kind") as nothing:
        plural_of("zzz")
    assert "gitrepos" in nothing.value.next_step


def test_short_names_are_unambiguous():
    """No two kinds share one."""
    names = [
        name for plural, kind in KINDS.items() for name in (plural, kind.kind.lower(), *kind.short)
    ]
    assert len(names) == len(set(names))
    assert plurals_of("gr,b") == ["gitrepos", "bundles"]
    assert "secrets" not in plurals_of("all")


@pytest.mark.parametrize("plural", KINDS)
def test_every_kind_has_a_table(plural: str):
    """Also for an object that has no status yet, or null where a map is expected."""
    for extra in ({}, {"status": None, "spec": None}, {"status": {"display": None, "agent": None}}):
        item = {"kind": KINDS[plural].kind, "metadata": {"name": "x"}, **extra}
        assert all(isinstance(column.cell(item), str) for column in COLUMNS[plural])


def test_every_state_has_a_rank():
    """Ready is the last, ErrApplied before Offline."""
    ranks = {state: rank({"status": {"display": {"state": state.value}}}) for state in State}
    assert max(ranks, key=lambda state: ranks[state]) is State.READY
    assert (
        ranks[State.ERR_APPLIED]
        < ranks[State.OFFLINE]
        < ranks[State.NOT_READY]
        < ranks[State.READY]
    )


def test_fleets_messages_without_what_the_columns_say():
    """The state and the count stand beside it; other messages stay."""
    assert (
        short("ErrApplied(2) [Cluster fleet-default/paris: no such image]")
        == "paris: no such image"
    )
    assert (
        short("Pending(8) [Cluster paris]; NotReady(1) [Cluster w/lyon: 0/1 [x]]")
        == "paris; lyon: 0/1 [x]"
    )
    assert short("silent since noon") == "silent since noon"
