"""Answers of a manager, and of what is none, as errors of ours."""

from __future__ import annotations

import msgspec
import pytest

from fleetctl.client import Client, certificates, place, problem
from fleetctl.core.model.errors import (
    FleetError,
    LoginError,
    RefusedError,
    TooManyDeletes,
    UsageError,
    every_error,
)
from fleetctl.core.model.wire import Problem


@pytest.mark.parametrize("kind", every_error())
def test_every_error_comes_back_as_itself(kind: type[FleetError]):
    """With its summary, its next step and the status that the manager said."""
    sent = Problem(
        code=kind.code, summary="s", subject="o", next_step="n", exit_status=kind.exit_status
    )
    found = problem(kind.http_status, msgspec.json.encode(sent))
    assert (found.code, found.summary, found.subject, found.next_step, found.status) == (
        kind.code,
        "s",
        "o",
        "n",
        kind.exit_status,
    )


def test_a_wrong_file_keeps_its_status():
    """Although its class wants a place."""
    found = problem(422, b'{"code":"invalid-file","summary":"a.yaml:1: x","exitStatus":2}')
    assert (found.summary, found.status) == ("a.yaml:1: x", 2)


def test_what_is_no_problem_document():
    """A proxy's page, an empty answer, a login without words."""
    assert problem(502, b"<html>").status == 5
    assert isinstance(problem(401, b""), LoginError)
    assert (
        problem(
            409, msgspec.json.encode(Problem(code="too-many-deletes", summary="s", exit_status=3))
        ).status
        == 3
    )
    assert issubclass(TooManyDeletes, RefusedError)


def test_a_path_holds_exactly_three_names():
    """Nothing that a person types leads elsewhere."""
    assert place("clusters", "w", "a b?x#y%2f") == "objects/clusters/w/a%20b%3Fx%23y%252f"
    for workspace, name in (
        ("w", ".."),
        ("..", "n"),
        ("w", "a/b"),
        ("w", ""),
        ("", "n"),
        ("w", "."),
    ):
        with pytest.raises(UsageError):
            place("clusters", workspace, name)


def test_certificates_are_found_in_a_chain():
    """What lies between and around them is no certificate."""
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert certificates(f"words\n{pem}more\n{pem}") == [pem, pem]
    assert certificates("no certificate") == []
    assert certificates("-----END CERTIFICATE-----") == []


def test_a_login_with_a_broken_ca_is_a_login_error():
    """It says to log in again."""
    with pytest.raises(LoginError):
        Client("https://h", "t", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
