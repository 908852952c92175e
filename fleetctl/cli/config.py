"""Contexts: which manager, with which CA and token. `~/.config/fleetctl/config.yaml` (or FLEETCTL_CONFIG), mode 0600."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetctl.core.errors import LoginError, NotFound, UsageError
from fleetctl.core.yamldoc import dump, load


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
    known: dict[str, Context] = field(default_factory=dict)


def path() -> Path:
    said = os.environ.get("FLEETCTL_CONFIG", "")
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(said) if said else base / "fleetctl" / "config.yaml"


def read() -> Contexts:
    """Raises UsageError when the file is not what this program writes."""
    where = path()
    try:
        doc: Any = load(where.read_bytes(), file=str(where)) or {}
        known = {c["name"]: Context(**c) for c in doc.get("contexts") or []}
        return Contexts(str(doc.get("current") or ""), known)
    except FileNotFoundError:
        return Contexts()
    except (TypeError, KeyError, AttributeError, OSError) as why:
        raise UsageError(f"{where} cannot be read: {why}", subject=str(where), next_step="Mend it, or remove it and log in again.") from why


def write(contexts: Contexts) -> None:
    """Replaced whole, mode 0600."""
    where = path()
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    doc = {"current": contexts.current, "contexts": [vars(c) for c in contexts.known.values()]}
    temporary = where.with_name(f".{where.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(dump(doc))
    temporary.replace(where)


def chosen(name: str = "") -> Context:
    """The context to use. Raises LoginError without one, NotFound for an unknown name."""
    contexts = read()
    wanted = name or os.environ.get("FLEETCTL_CONTEXT", "") or contexts.current
    if not wanted:
        step = "Run the `fleetctl login …` line that the manager printed at its first start."
        raise LoginError("you are not logged in to a manager", subject=str(path()), next_step=step)
    if wanted not in contexts.known:
        step = f"Known are: {', '.join(sorted(contexts.known)) or 'none'}."
        raise NotFound(f"there is no context {wanted}", subject=str(path()), next_step=step)
    return contexts.known[wanted]
