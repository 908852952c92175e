"""`helm.valuesFiles`: read at the scan, laid over `helm.values`."""

from __future__ import annotations

import posixpath
from typing import Any

import msgspec

from fleetctl.core.filetree.tree import Index, join, within
from fleetctl.core.formats.yaml import load
from fleetctl.core.model import options as opts
from fleetctl.core.model.errors import InvalidFile
from fleetctl.core.model.options import Options


class ValuesFiles:
    """Reads what `helm.valuesFiles` names: paths from the bundle's directory, also above it, within
    the repository.
    """

    def __init__(self, tree: Index, directory: str, file_name: str) -> None:
        self._tree, self._directory, self._file_name = tree, directory, file_name
        self.left_directory = False

    def merged(self, options: Options) -> Options:
        """`options` with the files laid over `values`, the later over the earlier."""
        helm = options.helm
        if helm is None or not helm.values_files:
            return options
        values: dict[str, Any] = helm.values or {}
        for name in helm.values_files:
            values = opts.merge_values(values, self._read(name))
        return msgspec.structs.replace(options, helm=msgspec.structs.replace(helm, values=values))

    def _read(self, name: str) -> dict[str, Any]:
        path = posixpath.normpath(join(self._directory, name))
        if path.startswith("../") or not self._tree.has(path):
            raise InvalidFile(
                f"helm.valuesFiles: {name} is not in the repository",
                file=self._file_name,
                next_step="Correct the path.",
            )
        real = self._tree.real(path)
        self.left_directory |= not within(real, self._tree.real(self._directory))
        if real not in self._tree.values:
            values = load(self._tree.read(path).data, file=path)
            if not isinstance(values, dict | None):
                raise InvalidFile(
                    "is no map of values", file=path, next_step="Write `key: value` lines."
                )
            self._tree.values[real] = values or {}
        return self._tree.values[real]
