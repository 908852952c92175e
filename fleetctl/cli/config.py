"""Contexts (which manager, with which CA and token) and the environment. The file is
`~/.config/fleetctl/config.yaml`, mode 0600.

`FLEETCTL_CONFIG` names another file, `FLEETCTL_CONTEXT` and `FLEETCTL_WORKSPACE` another context
and workspace.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fleetctl.core.model.errors import LoginError, NotFound, UsageError


@dataclass
class Context:
    name: str
    url: str
    token: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)
    workspace: str = "fleet-default"


@dataclass
class Contexts:
    current: str = ""
    by_name: dict[str, Context] = field(default_factory=dict)


def path() -> Path:
    configured = os.environ.get("FLEETCTL_CONFIG", "")
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(configured) if configured else base / "fleetctl" / "config.yaml"


def read() -> Contexts:
    """Raises UsageError when the file is not what this program writes, or when others may write
    it.
    """
    from fleetctl.core.formats.yaml import load

    file_path = path()
    try:
        with file_path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in {os.geteuid(), 0} or status.st_mode & (
                stat.S_IWGRP | stat.S_IWOTH
            ):
                raise UsageError(
                    "others may write this file",
                    subject=str(file_path),
                    next_step=f"Run `chmod 600 {file_path}` and check it.",
                )
            doc: Any = load(file.read(), file=str(file_path))
        doc = {} if doc is None else doc
        contexts = {
            c["name"]: Context(**{k: str(v) for k, v in c.items()})
            for c in doc.get("contexts") or []
        }
        return Contexts(str(doc.get("current") or ""), contexts)
    except FileNotFoundError:
        return Contexts()
    except (TypeError, KeyError, AttributeError, OSError) as error:
        raise UsageError(
            f"{file_path} cannot be read: {error}",
            subject=str(file_path),
            next_step="Correct it, or remove it and log in again.",
        ) from error


def write(contexts: Contexts) -> None:
    """Replaced whole, mode 0600. Raises UsageError."""
    from fleetctl.core.formats.yaml import dump

    file_path = path()
    doc = {"current": contexts.current, "contexts": [asdict(c) for c in contexts.by_name.values()]}
    temporary = file_path.with_name(f".{file_path.name}.{secrets.token_hex(4)}")
    try:
        file_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as file:
            file.write(dump(doc))
        temporary.replace(file_path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(
            f"{file_path} cannot be written: {error.strerror}",
            subject=str(file_path),
            next_step="Correct FLEETCTL_CONFIG.",
        ) from error


def select_context(name: str = "") -> Context:
    """The context to use. Raises LoginError without one, NotFound for an unknown name."""
    contexts = read()
    name_ = name or os.environ.get("FLEETCTL_CONTEXT", "") or contexts.current
    if not name_:
        step = "Run the `fleetctl login …` line that the manager printed at its first start."
        raise LoginError("you are not logged in to a manager", subject=str(path()), next_step=step)
    if name_ not in contexts.by_name:
        step = f"Valid contexts: {', '.join(sorted(contexts.by_name)) or 'none'}."
        raise NotFound(f"there is no context {name_}", subject=str(path()), next_step=step)
    return contexts.by_name[name_]


def workspace() -> str:
    """The workspace that the environment names, or ""."""
    return os.environ.get("FLEETCTL_WORKSPACE", "")


def debug() -> bool:
    return bool(os.environ.get("FLEETCTL_DEBUG"))


def colour() -> bool:
    """Whether a terminal may show colours."""
    return not os.environ.get("NO_COLOR") and moves_cursor()


def moves_cursor() -> bool:
    """Whether the terminal understands escape sequences."""
    return os.environ.get("TERM", "") != "dumb"


def desktop() -> bool:
    """Whether a browser would open where the person sits; on a server it would take over the
    terminal.
    """
    return sys.platform in {"darwin", "win32"} or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
