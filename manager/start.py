"""The entry of `fleet-manager`: says what is missing when it was installed without its libraries.

A plain install of the distribution brings the CLI and the agent; the manager's libraries are the
extra `manager`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from .version import version

_REQUIRED_PACKAGES = ("alembic", "sqlalchemy", "starlette", "uvicorn", "httptools")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["version"]):
        print(f"fleet-manager {version()}")
        return 0
    missing = [name for name in _REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        print(
            f"error: {', '.join(missing)} not installed\n  Install the manager's libraries: run"
            " `pip install '.[manager]'` in a clone of fleetctl (pipx: `pipx install --force"
            " '.[manager]'`).",
            file=sys.stderr,
        )
        return 1
    from .app import main as run

    return run(words)
