"""Bundles of several releases: names, and which object is in which part."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.release.parts import Piece, assign_parts, join_pieces, pieces, releases_of
from agent.state.journal import Entry
from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import BundleName, is_name
from fleetctl.core.model.options import HelmOptions, Options
from fleetctl.core.rendering.release_size import packed_size
from fleetctl.core.rendering.render import part_name, release_of
from fleetctl.tools.field_substitution import Key
from fleetctl.tools.helm import Release
from tests.support.depth import depth

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", fullmatch=True)


class TestNames:
    @given(NAMES, st.integers(2, 400))
    def test_a_parts_name_is_one_that_helm_takes_and_no_bundle_may_have(
        self, name: str, part: int
    ) -> None:
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
        assert releases_of(entry) == [
            Release("web", "shop"),
            Release("web.part-2", "shop"),
            Release("web.part-4", "shop"),
        ]
        assert releases_of(Entry(bundle=BundleName("web"))) == []


def piece(name: str, size: int, kind: str = "ConfigMap", seed: int = 0) -> Piece:
    body = base64.b64encode(random.Random(f"{name}{seed}").randbytes(size)).decode()
    text = f"apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {name}\ndata:\n  v: {body}\n".encode()
    return Piece(("", kind, "shop", name), text)


def sizes(parts: dict[int, list[Piece]]) -> list[int]:
    return [packed_size(join_pieces(part), [join_pieces(part)]) for part in parts.values()]


OBJECTS = st.dictionaries(
    st.sampled_from([f"o{i}" for i in range(24)]), st.integers(1, 3000), max_size=24
)
FILLED, MOST = 12_000, 14_000


class TestSplit:
    @given(OBJECTS, OBJECTS)
    @settings(max_examples=depth(20, 200), deadline=None)
    def test_every_object_is_in_exactly_one_part_and_no_part_is_too_large(
        self, first: dict[str, int], then: dict[str, int]
    ) -> None:
        """At the first time and after any change; what need not move does not, and the same content
        is split the same way again.
        """
        where: dict[Key, int] = {}
        for round_, objects in enumerate((first, then, then)):
            found = [piece(name, size) for name, size in objects.items()]
            parts = assign_parts(found, where, fill_limit=FILLED, size_limit=MOST)
            assert sorted(p.key for part in parts.values() for p in part) == sorted(
                p.key for p in found
            )
            assert all(size <= MOST for size in sizes(parts))
            assert parts[1] is not None
            again = {p.key: number for number, part in parts.items() for p in part}
            moved = [key for key, number in again.items() if where.get(key, number) != number]
            assert not moved or (round_ == 1 and first != then)
            where = again

    @given(OBJECTS)
    @settings(max_examples=depth(15, 100), deadline=None)
    def test_an_object_that_goes_moves_no_other(self, objects: dict[str, int]) -> None:
        """Whatever is left stays where it is."""
        found = [piece(name, size) for name, size in objects.items()]
        where = {
            p.key: number
            for number, part in assign_parts(found, {}, fill_limit=FILLED, size_limit=MOST).items()
            for p in part
        }
        after = assign_parts(found[1:], where, fill_limit=FILLED, size_limit=MOST)
        assert {p.key: number for number, part in after.items() for p in part} == {
            key: where[key] for key in [p.key for p in found[1:]]
        }

    def test_what_others_need_comes_first(self) -> None:
        """Namespaces and definitions are in the first part, workloads in the last."""
        kinds = ["Deployment", "ConfigMap", "CustomResourceDefinition", "Namespace"]
        found = [piece(f"{kind.lower()}{i}", 3000, kind) for i in range(2) for kind in kinds]
        parts = assign_parts(found, {}, fill_limit=FILLED, size_limit=MOST)
        assert len(parts) > 2
        assert {p.key[1] for p in parts[1]} <= {"Namespace", "CustomResourceDefinition"}
        assert {p.key[1] for p in parts[max(parts)]} == {"Deployment"}

    def test_an_object_that_grows_moves_alone(self) -> None:
        """Into a part with room; the others of its part stay."""
        found = [piece(f"o{i}", 1000) for i in range(9)]
        where = {
            p.key: number
            for number, part in assign_parts(found, {}, fill_limit=FILLED, size_limit=MOST).items()
            for p in part
        }
        crowd = [p for p in found if where[p.key] == 1]
        grown = piece(crowd[-1].key[3], 4000)
        after = assign_parts(
            [grown if p.key == grown.key else p for p in found],
            where,
            fill_limit=FILLED,
            size_limit=MOST,
        )
        place = {p.key: number for number, part in after.items() for p in part}
        assert {key for key in where if place[key] != where[key]} == {grown.key}

    def test_one_object_that_no_record_holds_is_refused_with_the_numbers(self) -> None:
        """It is named."""
        with pytest.raises(
            UsageError, match=r"ConfigMap shop/big alone makes a release record of about \d+ bytes"
        ):
            assign_parts([piece("big", 20_000)], {}, fill_limit=FILLED, size_limit=MOST)

    def test_documents_keep_their_bytes(self) -> None:
        """Comments and quotes too; a List is one piece, known by its first item."""
        text = (
            b'---\n# why\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: "0644"}\n'
        )
        text += (
            b"---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata:"
            b" {name: b, namespace: other}}\n"
        )
        found = pieces(text, "shop")
        assert [p.key for p in found] == [
            ("", "ConfigMap", "shop", "a"),
            ("", "Secret", "other", "b"),
        ]
        assert join_pieces(found) == text
