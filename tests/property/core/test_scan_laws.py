"""Laws of reading, merging and packing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.documents.fleet_yaml import FleetYaml, parse
from fleetctl.core.documents.gitrepo import repo_spec
from fleetctl.core.formats.bundle_archive import archive_digest, pack, unpack
from fleetctl.core.model.bundle import File, check_path
from fleetctl.core.model.errors import FleetError
from fleetctl.core.model.ids import CommitId
from fleetctl.core.model.options import Options, merge, merge_values
from fleetctl.core.scan.scan import finish, scan
from tests.support.trees import DictTree

names = st.text("ab/.-A", min_size=1, max_size=12).filter(lambda p: check_path(p) is None)
values = st.recursive(
    st.none() | st.booleans() | st.integers(),
    lambda v: st.dictionaries(st.sampled_from("abc"), v),
    max_leaves=8,
)
maps = st.dictionaries(st.sampled_from("abc"), values)
lines = st.lists(
    st.sampled_from(
        [
            "helm:",
            "  values: {a: 1}",
            "  chart: x",
            "namespace: y",
            "- a",
            "? b",
            "&a x",
            "*a",
            "<<: *a",
            "targets:",
            "- name: z",
        ]
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
    first, second = (
        Options(namespace_labels={"a": "1"}),
        Options(namespace_labels={"b": "2"}, namespace="x"),
    )
    assert merge(merge(first, second), second) == merge(first, second)


words = ["a", "b", "c", "fleet.yaml", "m.yaml", "x.yml", ".fleetignore", "overlays", "README.md"]
texts = ["", "defaultNamespace: x\n", "m.yaml\n", "a: 1\n", "name: y\n"]
trees = st.dictionaries(
    st.lists(st.sampled_from(words), min_size=1, max_size=4).map("/".join),
    st.sampled_from(texts),
    max_size=9,
)
REPO = repo_spec({"metadata": {"name": "repo"}, "spec": {"repo": "https://git.example/r"}})


def found(files, known=None):
    """(name, archive digest, options) of each bundle, and the problems."""
    got = scan(DictTree(files), REPO, commit=CommitId("c" * 40), earlier_bundles=known)
    specs = [d.spec if d.is_made else finish(d, {}).spec for d in got.drafts]
    return [(s.name, s.archive, s.options) for s in specs], got.problems


@given(trees, st.randoms(use_true_random=False))
def test_a_scan_does_not_depend_on_the_order_of_files(files, random):
    """Directories are listed in other orders elsewhere."""
    kept = {p: t for p, t in files.items() if not any(q.startswith(f"{p}/") for q in files)}
    items = list(kept.items())
    random.shuffle(items)
    assert found(dict(items)) == found(kept)


@given(trees, st.sampled_from(["", "a: 2\n"]))
def test_an_unchanged_folder_keeps_its_digest(files, text):
    """Whatever happens beside it, also when only what changed is read again."""
    kept = {
        p: t
        for p, t in files.items()
        if not any(q.startswith(f"{p}/") for q in files) and not p.startswith("z")
    }
    base = {**kept, "z/fleet.yaml": "defaultNamespace: z\n", "z/m.yaml": "a: 1\n"}
    before, _ = found(base)
    changed = {**base, "a-new-one/m.yaml": text}
    drafts = scan(DictTree(base), REPO, commit=CommitId("c" * 40)).drafts
    known = {b.fingerprint: b.spec for b in (finish(d, {}) for d in drafts) if b.fingerprint}
    after, _ = found(changed)
    assert [s for s in after if s[0] == "repo-z"] == [s for s in before if s[0] == "repo-z"]
    assert found(changed, known) == found(changed)
