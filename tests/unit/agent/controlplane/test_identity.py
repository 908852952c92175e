"""Keys and identities on a disk."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.controlplane import identity
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import ClusterId

ME = identity.Identity(
    url="https://m:1", ca_pem="", cluster_id=ClusterId("c-1"), cluster="one", workspace="w", keys={}
)


def test_the_first_key_stays_until_it_is_enrolled_and_a_second_enrolment_gets_another(
    tmp_path: Path,
) -> None:
    """A lost answer is asked for with the same key; a cloned disk that is enrolled anew shares none
    with its twin.
    """
    folder = tmp_path / "state"
    folder.mkdir()
    first = identity.key_to_enrol(folder)
    assert identity.key_to_enrol(folder).private_bytes_raw() == first.private_bytes_raw()
    identity.save(folder, ME, first)
    second = identity.key_to_enrol(folder)
    assert second.private_bytes_raw() != first.private_bytes_raw()
    assert identity.key_to_enrol(folder).private_bytes_raw() == second.private_bytes_raw()
    assert identity.load(folder)[1].private_bytes_raw() == first.private_bytes_raw()
    identity.save(folder, ME, second)
    assert identity.load(folder)[1].private_bytes_raw() == second.private_bytes_raw()
    assert {path.name for path in folder.iterdir()} == {"identity.json", "identity.key"}


def test_what_was_done_for_another_cluster_is_put_aside(tmp_path: Path) -> None:
    """The same cluster keeps its journal; another manager counts anew."""
    key = identity.key_to_enrol(tmp_path)
    identity.save(tmp_path, ME, key)
    (tmp_path / "journal").write_bytes(b"x")
    identity.save(tmp_path, ME, key)
    assert (tmp_path / "journal").exists()
    identity.save(tmp_path, msgspec.structs.replace(ME, cluster_id=ClusterId("c-2")), key)
    assert not (tmp_path / "journal").exists()
    assert (tmp_path / "journal.of-c-1").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("file", "data"),
    [("identity.json", b'{"url": "https'), ("identity.json", b""), ("identity.key", b"half")],
)
def test_what_is_half_written_is_one_line_with_a_next_step(
    tmp_path: Path, file: str, data: bytes
) -> None:
    """And enrolling anew mends it."""
    identity.save(tmp_path, ME, identity.key_to_enrol(tmp_path))
    (tmp_path / file).write_bytes(data)
    with pytest.raises(UsageError, match="cannot be read") as raised:
        identity.load(tmp_path)
    assert "--replace" in raised.value.next_step
    identity.save(tmp_path, ME, identity.key_to_enrol(tmp_path))
    assert identity.load(tmp_path)[0] == ME
