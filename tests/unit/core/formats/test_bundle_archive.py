"""The canonical archive: long names, and digests that stay as they are."""

from __future__ import annotations

import io
import tarfile

import pytest

from fleetctl.core.formats.bundle_archive import archive_digest, pack, unpack
from fleetctl.core.model.bundle import File, Limits, check_path
from fleetctl.core.model.errors import UsageError

LONG = {
    "a" * 100: b"1",
    "a" * 101: b"2",
    "b" * 250 + ".yaml": b"3",
    "é" * 127: b"4",
    "/".join(["d" * 200, "e" * 200, "f" * 200, "g" * 200, "h" * 200]): b"5",
    "short": b"6",
    "f" * 156 + "/x": b"7",
    "f" * 155 + "/x": b"8",
}


def test_names_of_any_length_that_git_holds_survive():
    """Also in the standard library's reader, which agents of older releases use."""
    files = {name: File(data, executable=data == b"3") for name, data in LONG.items()}
    archive = pack(files)
    assert unpack(archive) == files
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        assert {i.name: (i.isreg(), i.mode) for i in tar} == {
            n: (True, 0o755 if f.executable else 0o644) for n, f in files.items()
        }


def test_the_digest_of_short_names_does_not_change():
    """Bundles that run would all be deployed again."""
    files = {
        "fleet/a.yaml": File(b"k: v\n"),
        "run.sh": File(b"#!/bin/sh\n", executable=True),
        "é/" + "x" * 100: File(b""),
    }
    assert (
        archive_digest(pack(files))
        == "8f0cb2e80b547ee64cdd7e71c8859a442ab07f11bc7d8d041c636c867c016029"
    )


def test_as_many_long_names_as_a_bundle_may_hold_are_read():
    """Their extra headers count as entries too."""
    limits = Limits(files=100)
    files = {f"{'n' * 120}-{n}": File(b"") for n in range(limits.files)}
    assert len(unpack(pack(files, limits), limits)) == limits.files


@pytest.mark.parametrize(
    "path", ["x" * 256, "é" * 128, "a/" + "x" * 256 + "/b", "/".join(["p" * 200] * 6)]
)
def test_names_that_no_file_system_holds_are_refused(path):
    """With the limit in the message."""
    assert check_path(path)
    with pytest.raises(UsageError, match="bytes"):
        pack({path: File(b"")})
