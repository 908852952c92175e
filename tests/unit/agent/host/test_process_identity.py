"""Whether a process that is named in a lease is alive."""

from __future__ import annotations

import os

from agent.host import process_identity

ME = process_identity.this_process("i1")


def test_this_process_is_alive_and_its_name_can_be_read_back() -> None:
    """The kernel's start time makes a pid that was used again another process."""
    assert process_identity.parse(ME.text()) == ME
    assert process_identity.is_alive(ME, ME) is True
    assert process_identity.is_alive(ME._replace(start_time="1"), ME) is False
    assert process_identity.is_alive(ME._replace(pid=str(2**22 + 1)), ME) is False
    assert ME.pid == str(os.getpid())


def test_nothing_is_known_of_other_boots_and_containers() -> None:
    """Nor where the kernel tells nothing, nor of what somebody else wrote."""
    assert process_identity.is_alive(ME._replace(boot="another"), ME) is None
    assert process_identity.is_alive(ME._replace(space="1"), ME) is None
    assert process_identity.is_alive(ME, ME._replace(boot="")) is None
    assert process_identity.parse("kube-scheduler_1234") is None
    assert process_identity.parse("a/b/c/d/../../e") is None
