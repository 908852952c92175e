"""Resolves symbolic links of a tree of files, with bounds: nothing outside the tree is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fleetctl.core.model.errors import InvalidFile

MAX_HOPS: Final = 40  # links that one path may pass through, as in Linux


class Links:
    """`targets`: path of a link → its text, relative to the link's folder."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        self.targets = targets

    def resolve(self, path: str) -> str:
        """`path` without links, in its last part too; it need not exist.

        Raises InvalidFile, naming the link and its target, when one is absolute, leads out of the
        repository, or is part of a cycle.
        """
        if not self.targets:
            return path
        resolved_parts: list[str] = []
        todo = path.split("/")[::-1]  # the next part last
        hops, link = 0, ""
        while todo:
            part = todo.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                if not resolved_parts:
                    raise self.error(link or path, "leads out of the repository")
                resolved_parts.pop()
                continue
            resolved_path = "/".join((*resolved_parts, part))
            target = self.targets.get(resolved_path)
            if target is None:
                resolved_parts.append(part)
                continue
            hops, link = hops + 1, resolved_path
            if hops > MAX_HOPS:
                raise self.error(
                    resolved_path, f"is part of a cycle, or of more than {MAX_HOPS} links in a row"
                )
            if target.startswith("/"):
                raise self.error(resolved_path, "is absolute")
            todo += target.split("/")[::-1]
        return "/".join(resolved_parts)

    def error(self, link: str, problem: str) -> InvalidFile:
        target = self.targets.get(link, "")
        summary = f"the symbolic link to {target} {problem}" if target else problem
        step = "Point the link to a file of the bundle, or list it in .fleetignore."
        return InvalidFile(summary, file=link, next_step=step)
