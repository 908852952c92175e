"""Bundles of several releases: names, and which object is in which part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal import Entry
from agent.parts import releases_of
from fleetctl.core.errors import UsageError
from fleetctl.core.ids import BundleName, is_name
from fleetctl.core.options import HelmOptions, Options
from fleetctl.core.render import part_name, release_of
from fleetctl.tools.helm import Release

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", fullmatch=True)


class TestNames:
    @given(NAMES, st.integers(2, 400))
    def test_a_parts_name_is_one_that_helm_takes_and_no_bundle_may_have(self, name: str, part: int) -> None:
        """At most 53 characters, and refused as the release of a bundle."""
        made = part_name(name, part)
        assert is_name(made, limit=53)
        with pytest.raises(UsageError, match="parts of large bundles"):
            release_of(Options(helm=HelmOptions(release_name=made)), BundleName("b"))

    def test_long_names_that_begin_alike_have_parts_of_their_own(self) -> None:
        """What is cut off counts in what is put in its place."""
        assert part_name("a" * 52 + "b", 2) != part_name("a" * 52 + "c", 2)

    def test_all_releases_of_a_bundle_the_first_first(self) -> None:
        """None before the first was made."""
        entry = Entry(bundle=BundleName("web"), release="web", namespace="shop", parts=(2, 4))
        assert releases_of(entry) == [Release("web", "shop"), Release("web.part-2", "shop"), Release("web.part-4", "shop")]
        assert releases_of(Entry(bundle=BundleName("web"))) == []
