"""What a power cut leaves: records each change that fleetctl/durable.py makes, and lays out what
may be there after a cut at any moment.

The model is that of POSIX, stricter than ext4: bytes are safe after fsync of their file, names
after fsync of their folder; of what was not synced any part may be there, in any combination for
bytes of a file, in order for names of a folder; the last write may be torn.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fleetctl import durable


@dataclass(frozen=True)
class Change:
    """`inode` numbers a file over renames; `name` and `other` are names in the folder. `kind`:
    create, write, truncate, sync, rename, unlink, sync-folder.
    """

    kind: str
    inode: int = 0
    name: str = ""
    other: str = ""
    data: bytes = b""
    at: int = 0


@dataclass
class Recorder(durable.Disk):
    """Does everything for real in `folder`, and notes it down."""

    folder: Path
    changes: list[Change] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)

    def create(self, path: Path) -> int:
        handle = super().create(path)
        self.changes.append(Change("create", self._number(handle), path.name))
        return handle

    def write(self, handle: int, data: bytes, at: int) -> None:
        super().write(handle, data, at)
        self.changes.append(Change("write", self._number(handle), data=data, at=at))

    def sync(self, handle: int) -> None:
        self.changes.append(Change("sync", self._number(handle)))

    def truncate(self, handle: int, size: int) -> None:
        super().truncate(handle, size)
        self.changes.append(Change("truncate", self._number(handle), at=size))

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self.changes.append(Change("rename", name=old.name, other=new.name))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.changes.append(Change("unlink", name=path.name))

    def sync_folder(self, folder: Path) -> None:
        self.changes.append(Change("sync-folder"))

    def _number(self, handle: int) -> int:
        """Inode numbers are used again by the file system once a file is gone; a handle that was
        just made for one is a new file.
        """
        inode = os.fstat(handle).st_ino
        return self._numbers.setdefault(inode, inode)


def lay_out(changes: list[Change], folder: Path, choose: Callable[[int], int]) -> None:
    """Write into `folder` one of the states that a cut after these changes may leave; `choose(n)`
    picks from 0..n-1.
    """
    names = _names(changes, choose)
    folder.mkdir(parents=True, exist_ok=True)
    for name, created in names.items():
        (folder / name).write_bytes(_content(changes, created, choose))


def _names(changes: list[Change], choose: Callable[[int], int]) -> dict[str, int]:
    """Which name leads to which file (the index of its creation): all that was synced, and a
    beginning of the rest.
    """
    made = [(at, c) for at, c in enumerate(changes) if c.kind in {"create", "rename", "unlink"}]
    synced = max((at for at, c in enumerate(changes) if c.kind == "sync-folder"), default=-1)
    safe = sum(1 for at, _ in made if at < synced)
    names: dict[str, int] = {}
    for at, change in made[: safe + choose(len(made) - safe + 1)]:
        if change.kind == "create":
            names[change.name] = at
        elif change.kind == "unlink":
            names.pop(change.name, None)
        elif change.name in names:
            names[change.other] = names.pop(change.name)
    return names


def _content(changes: list[Change], created: int, choose: Callable[[int], int]) -> bytes:
    inode = changes[created].inode
    end = next(
        (
            at
            for at in range(created + 1, len(changes))
            if changes[at].kind == "create" and changes[at].inode == inode
        ),
        len(changes),
    )
    mine = [(at, c) for at, c in enumerate(changes[:end]) if at > created and c.inode == inode]
    synced = max((at for at, c in mine if c.kind == "sync"), default=-1)
    content = bytearray()
    for at, change in mine:
        if change.kind == "truncate" and (at < synced or choose(2)):
            del content[change.at :]
        if change.kind == "write":
            data = change.data if at < synced else change.data[: choose(len(change.data) + 1)]
            content.extend(b"\0" * (change.at - len(content)))
            content[change.at : change.at + len(data)] = data
    return bytes(content)
