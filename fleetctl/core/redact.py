"""What must not stand in a log, a report or an error: passwords in addresses, bearer tokens, private keys.

Rule: cut by shape, since what a tool prints was written by others. The list is of shapes that helm, kubectl, Git and HTTP libraries were
seen to print; it does not make it safe to pass on text that is known to hold a secret.
"""

from __future__ import annotations

import re

from fleetctl.core.errors import UsageError

CUT = "***"
_SCHEME = r"\b([a-z][a-z0-9+.-]{1,20}://)"
_KEY_IN_QUERY = r"[\w.-]{0,40}(?:token|secret|passw|passphrase|api[_-]?key|signature|\bsig)[\w.-]{0,40}"
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), CUT),
    # A password with a slash, which is not followed by a port; then any user and password, with @ in them too.
    (re.compile(rf"{_SCHEME}[^\s/@:\"']{{1,200}}:(?!\d{{0,5}}/)[^\s\"'@]{{1,400}}@(?:[^\s/@\"']{{1,200}}@)*", re.IGNORECASE), rf"\1{CUT}@"),
    (re.compile(rf"{_SCHEME}[^\s/\"']{{1,1000}}@", re.IGNORECASE), rf"\1{CUT}@"),
    (re.compile(rf"([?&;]{_KEY_IN_QUERY}=)[^\s&;#\"']{{1,4000}}", re.IGNORECASE), rf"\1{CUT}"),
    (re.compile(r"\b(bearer|authorization: basic)\s+[\w+/.=~-]{8,}", re.IGNORECASE), rf"\1 {CUT}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), CUT),
    (re.compile(r"\b((?:password|passwd|passphrase)[\"']?\s{0,3}[=:]\s{0,3})[\"']?[^\s\"',;&)]{1,200}[\"']?", re.IGNORECASE), rf"\1{CUT}"),
    (re.compile(r"\b((?:secret|token|api[_-]?key)(?:=|[\"']\s{0,3}:\s{0,3}))[\"']?[^\s\"',;&)]{4,200}[\"']?", re.IGNORECASE), rf"\1{CUT}"),
)


def redacted(text: str) -> str:
    """The text with what looks like a secret cut out. Linear in its length."""
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


_ADDRESS = re.compile(r"(\s*(?:[a-z]{1,10}::)?(?:([a-z][a-z0-9+.-]*)://)?)([^/?#]*)", re.IGNORECASE)
_SECRET_IN_QUERY = re.compile(rf"[?&;]{_KEY_IN_QUERY}=.", re.IGNORECASE)
_SSH = frozenset({"", "ssh", "git+ssh", "ssh+git"})


def has_login(address: str) -> bool:
    """Whether a Git, chart or mirror address carries a password or a token.

    A user name alone counts as one, because tokens are written there; only ssh needs a user name (`git@`).
    """
    return CUT in address or redacted_login(address) != address


def redacted_login(address: str) -> str:
    """The address with user, password and tokens replaced by ***."""
    match = _ADDRESS.match(address)
    if match:
        user, at, host = match[3].rpartition("@")
        ssh = (match[2] or "").lower() in _SSH
        if not ssh or ":" in user:
            address = (f"{match[1]}{CUT}@{host}" if at else match[0]) + address[match.end() :]
            address = _SHAPES[1][0].sub(_SHAPES[1][1], address)  # a password with a slash in it
    return redacted(address) if _SECRET_IN_QUERY.search(address) else address


def refuse_login(address: str, subject: str, next_step: str) -> None:
    """Raises UsageError when the address carries a login. The message does not repeat it."""
    if has_login(address):
        summary = f"the address {redacted_login(address)[:200]} carries a login, which every reader would see"
        raise UsageError(summary, subject=subject, next_step=next_step)
