"""Which bundle that is in Git no more is probably one that has come: a directory was renamed, and
with it the bundle's name.

Rule: what a bundle runs hangs on its name: a name that goes and another that comes in the same
commit would be an uninstall and a new installation. Where the two have the same release, the same
or nearly the same files, or the same last part of their path, it looks like a move; a person, or
`movedFrom` in fleet.yaml, says whether it is one. Each bundle is part of one move at most, the
likeliest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher

import msgspec

from fleetctl.core.model.bundle import BundleSpec, File
from fleetctl.core.model.ids import BundleName, Digest
from fleetctl.core.model.options import HelmOptions, Options

# How alike files must be to count as nearly the same: the share of lines that both have.
NEARLY = 0.7
# How much of two archives is compared.
_MOST_BYTES = 2 * 1024 * 1024
Alike = Callable[[Digest, Digest], float]


class BundleMove(msgspec.Struct, frozen=True):
    """`why`: what both have, in words."""

    old: BundleName
    new: BundleName
    old_path: str
    new_path: str
    why: str

    @property
    def places(self) -> str:
        return f"{self.old_path or 'the root'} and {self.new_path or 'the root'}"

    @property
    def words(self) -> str:
        return (
            f"{self.old_path or 'the root'} → {self.new_path or 'the root'} looks like a move"
            f" ({self.why})"
        )


def equal(digest: Digest, other_digest: Digest) -> float:
    """An `Alike` for who has only the names of archives."""
    return float(digest == other_digest)


def probable(
    old_bundles: Sequence[BundleSpec], new_bundles: Sequence[BundleSpec], alike: Alike = equal
) -> list[BundleMove]:
    """Sorted by the old name. `alike`: how much of two archives is the same, 0 to 1; asked only
    where nothing else tells.
    """
    rates = [
        (rate, _distance(old, new), old, new, reason)
        for old in old_bundles
        for new in new_bundles
        for rate, reason in [_rate(old, new, alike)]
        if rate
    ]
    moves: list[BundleMove] = []
    taken_names: set[tuple[str, BundleName]] = set()
    for _, _, old, new, reason in sorted(rates, key=lambda r: (-r[0], r[1], r[2].name, r[3].name)):
        if taken_names.isdisjoint({("old", old.name), ("new", new.name)}):
            taken_names |= {("old", old.name), ("new", new.name)}
            moves.append(BundleMove(old.name, new.name, old.path, new.path, reason))
    return sorted(moves, key=lambda move: move.old)


def _rate(old: BundleSpec, new: BundleSpec, alike: Alike) -> tuple[float, str]:
    """How likely it is, 0 not at all, and why."""
    release = release_name_of(old.options)
    if release and (release, _namespace(old)) == (release_name_of(new.options), _namespace(new)):
        return 3.0, f"the same release {release}"
    if old.archive and old.archive == new.archive:
        return 2.5, "the same files"
    if old.path and new.path and old.path.rpartition("/")[2] == new.path.rpartition("/")[2]:
        return 2.0, "the same folder name"
    share = alike(old.archive, new.archive) if old.archive and new.archive else 0.0
    return (
        (share, f"{int(share * 100)} % of their lines in common") if share >= NEARLY else (0.0, "")
    )


def _distance(old: BundleSpec, new: BundleSpec) -> float:
    """Of several that are as likely, the one whose path has changed least."""
    return 1.0 - SequenceMatcher(None, old.path, new.path, autojunk=False).ratio()


def release_name_of(options: Options) -> str:
    return (options.helm.release_name if options.helm else None) or ""


def _namespace(spec: BundleSpec) -> str:
    options = spec.options
    return options.target_namespace or options.namespace or options.default_namespace or ""


def keeping(options: Options, release: str) -> Options:
    """The options with this release, where they state none: the bundle has another name, and its
    release stays.
    """
    if not release or release_name_of(options):
        return options
    return msgspec.structs.replace(
        options, helm=msgspec.structs.replace(options.helm or HelmOptions(), release_name=release)
    )


def likeness(files: Mapping[str, File], other_files: Mapping[str, File]) -> float:
    """The share of lines that two archives have in common, of all that they have; large ones by
    their beginnings.
    """
    lines, other_lines = _lines(files), _lines(other_files)
    return len(lines & other_lines) / len(lines | other_lines) if lines or other_lines else 0.0


def _lines(files: Mapping[str, File]) -> set[bytes]:
    lines: set[bytes] = set()
    bytes_left = _MOST_BYTES
    for path in sorted(files):
        data = files[path].data[:bytes_left]
        bytes_left -= len(data)
        lines |= {line.strip() for line in data.splitlines()}
    return lines - {b"", b"---"}
