"""How large a release's record will be, before helm is asked."""

from __future__ import annotations

import random

import pytest

from fleetctl.core.model.bundle import File
from fleetctl.core.model.errors import UsageError
from fleetctl.core.rendering.release_size import (
    MAX_BYTES,
    Gauge,
    files_in_record,
    packed_size,
    refuse_too_large,
    surely_fits,
)


def noise(size: int, seed: int = 0) -> bytes:
    """Text that does not get smaller when it is packed."""
    return random.Random(seed).randbytes(size // 2).hex().encode()


class TestPacked:
    def test_what_surely_fits_fits(self) -> None:
        """Up to the last byte, also of what cannot be packed."""
        text = random.Random(1).randbytes(MAX_BYTES * 3 // 8 - 2)
        text = bytes(33 + byte % 90 for byte in text)
        assert surely_fits(text)
        assert packed_size(text, [text]) <= MAX_BYTES

    def test_a_gauge_that_refuses_stays_as_it_was(self) -> None:
        """What did not fit leaves no trace."""
        gauge = Gauge()
        assert gauge.fits(noise(10_000), 60_000)
        before = gauge.size
        assert not gauge.fits(noise(100_000, 2), 60_000)
        assert gauge.size == before
        assert gauge.fits(b"small", 60_000)


class TestRefuseTooLarge:
    def test_with_the_numbers(self) -> None:
        """What there is, what it would make, what is possible."""
        with pytest.raises(
            UsageError,
            match=(
                r"^1600000 bytes make a release record of about \d{7} bytes, and helm keeps at most"
                r" 1048576"
            ),
        ):
            refuse_too_large(b"", "web", [noise(1_600_000)])
        refuse_too_large(b"", "web", [b"the same again " * 100_000])

    def test_of_a_chart_counts_what_helm_keeps(self) -> None:
        """No subcharts, and of a chart with a .helmignore its templates only."""
        files = {
            "c/Chart.yaml": File(b"1"),
            "c/templates/a.yaml": File(b"2"),
            "c/charts/s/big": File(b"3"),
            "other": File(b"4"),
        }
        assert files_in_record(files, "c", b"{}") == [b"1", b"2", b"{}"]
        assert files_in_record(files | {"c/.helmignore": File(b"x")}, "c", b"{}") == [b"2", b"{}"]
