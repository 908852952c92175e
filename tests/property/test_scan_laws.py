"""Laws of reading, merging and packing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.bundle import File, archive_digest, check_path, pack, unpack
from fleetctl.core.errors import FleetError
from fleetctl.core.fleetyaml import FleetYaml, parse
from fleetctl.core.options import Options, merge, merge_values

names = st.text("ab/.-A", min_size=1, max_size=12).filter(lambda p: check_path(p) is None)
values = st.recursive(st.none() | st.booleans() | st.integers(), lambda v: st.dictionaries(st.sampled_from("abc"), v), max_leaves=8)
maps = st.dictionaries(st.sampled_from("abc"), values)
lines = st.lists(
    st.sampled_from(
        ["helm:", "  values: {a: 1}", "  chart: x", "namespace: y", "- a", "? b", "&a x", "*a", "<<: *a", "targets:", "- name: z"]
    )
)


@given(st.binary(max_size=200) | lines.map(lambda text: "\n".join(text).encode()))
def test_any_bytes_are_a_spec_or_a_refusal(data):
    """Never a crash."""
    try:
        got: FleetYaml | FleetError = parse(data)
    except FleetError as why:
        got = why
    assert isinstance(got, FleetYaml) or "\n" not in got.summary


@given(st.dictionaries(names, st.binary(max_size=50)))
def test_an_archive_gives_back_its_files_and_is_canonical(files):
    """Whatever order they come in, one digest."""
    entries = {path: File(data) for path, data in files.items()}
    packed = pack(entries)
    assert unpack(packed) == entries
    assert archive_digest(pack(dict(reversed(entries.items())))) == archive_digest(packed)


@given(maps, maps)
def test_merging_twice_changes_nothing(base, over):
    """merge(merge(a, b), b) == merge(a, b)."""
    once = merge_values(base, over)
    assert merge_values(once, over) == once
    first, second = Options(namespace_labels={"a": "1"}), Options(namespace_labels={"b": "2"}, namespace="x")
    assert merge(merge(first, second), second) == merge(first, second)
