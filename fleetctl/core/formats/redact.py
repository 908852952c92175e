"""Redacts what must not appear in a log, a report or an error: passwords in addresses, bearer
tokens, private keys.

Rule: cut by shape, since what a tool prints was written by others. The list is of shapes that helm,
kubectl, Git and HTTP libraries were seen to print; it does not make it safe to pass on text that is
known to hold a secret. In the query and the fragment of an address the rule is the opposite: every
value is cut, except plain values of the keys in `_SAFE_KEYS`, because servers give tokens any name.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from fleetctl.core.model.errors import UsageError

MASK = "***"
_SCHEME = r"\b([a-z][a-z0-9+.-]{1,20}://)"
_SENSITIVE_KEYS = (
    r"(?:token|secret|passw|passphrase|pwd|api[_-]?key|access[_-]?key|signature|credential|session|bearer"
    r"|jwt|ticket|auth(?!or)|(?<![a-z])(?:key|sig|sas|code)(?![a-z]))"
)
_KEY_IN_QUERY = (
    rf"(?:[\w.-]{{0,40}}{_SENSITIVE_KEYS}[\w.%-]{{0,40}}|[\w.-]{{0,40}}%[\w.%-]{{1,80}})"
)
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
            re.DOTALL,
        ),
        MASK,
    ),
    # A password with a slash, which is not followed by a port; then any user and password, with @
    # in them too.
    (
        re.compile(
            rf"{_SCHEME}[^\s/@:\"']{{1,200}}:(?!\d{{0,5}}/)[^\s\"'@]{{1,400}}@(?:[^\s/@\"']{{1,200}}@)*",
            re.IGNORECASE,
        ),
        rf"\1{MASK}@",
    ),
    (re.compile(rf"{_SCHEME}[^\s/\"']{{1,1000}}@", re.IGNORECASE), rf"\1{MASK}@"),
    (re.compile(r"(//)[^\s/@:\"']{1,200}:[^\s/\"']{1,400}@"), rf"\1{MASK}@"),
    (re.compile(rf"([?&;#]{_KEY_IN_QUERY}=)[^\s&;#\"']{{1,4000}}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(bearer|authorization: basic)\s+[\w+/.=~-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), MASK),
    (
        re.compile(
            r"\b((?:password|passwd|passphrase)[\"']?\s{0,3}[=:]\s{0,3})[\"']?[^\s\"',;&)]{1,200}[\"']?",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (
        re.compile(
            r"\b((?:secret|token|api[_-]?key)(?:=|[\"']\s{0,3}:\s{0,3}))[\"']?[^\s\"',;&)]{4,200}[\"']?",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
)
# Keys of Git, kustomize, OCI registries and the Kubernetes API, in lower case.
_SAFE_KEYS = frozenset(
    {
        "ref", "branch", "tag", "version", "path", "depth", "submodules", "timeout", "page",
        "per_page", "n", "last", "service", "scope", "digest", "limit", "watch", "force",
        "dryrun", "fieldmanager", "fieldvalidation", "labelselector", "fieldselector",
        "resourceversion", "resourceversionmatch", "timeoutseconds", "allowwatchbookmarks",
        "propagationpolicy", "sendinitialevents", "pretty",
    }
)  # fmt: skip
_SAFE_VALUE = re.compile(r"(?:[\w.:/*+,~-]|%2[fFcC]|%3[aAdD]){0,256}", re.ASCII)
_SAFE_FRAGMENT = re.compile(r"[a-z]{1,20}(?:-[a-z]{1,20}){0,8}")
# The whole address is consumed, so that a text of many beginnings takes linear time.
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}:[/\\]+[^\s\"'<>]*", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with what looks like a secret cut out. Linear in its length."""
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return _URL.sub(lambda match: _redact_rest(_without_user(match[0])), text)


_AUTHORITY = re.compile(
    r"(\s*(?:[a-z]{1,10}::)?(?:([a-z][a-z0-9+.-]*):[/\\]+|([/\\]{2,}))?)([^/\\?#]*)", re.IGNORECASE
)
# `@` as servers and browsers may also read it: percent-encoded, or another Unicode form.
_AT = re.compile("@|%(?:25)*40|\uff20|\ufe6b")
_SECRET_IN_REST = re.compile(rf"[?&;#]{_KEY_IN_QUERY}=?", re.IGNORECASE)
_SSH = frozenset({"", "ssh", "git+ssh", "ssh+git"})


def has_login(address: str) -> bool:
    """Whether a Git, chart or mirror address carries a password or a token.

    A user name alone counts as one, because tokens are written there; only ssh needs a user name
    (`git@`).
    """
    public = without_public_user(address)
    plain = _without_user(public)
    return MASK in address or plain != public or _SECRET_IN_REST.search(plain) is not None


def redacted_login(address: str) -> str:
    """The address with user, password and what may be a token in its query or fragment replaced by
    ***.
    """
    plain = address if without_public_user(address) != address else _without_user(address)
    authority = _AUTHORITY.match(plain)
    end = authority.end() if authority else 0
    return plain[:end] + redacted(_redact_rest(plain[end:]))


def without_public_user(address: str) -> str:
    """The address without a user part that says nothing new, else the address.

    Azure DevOps gives everybody `https://ORG@dev.azure.com/ORG/PROJECT/_git/REPO`: the user repeats
    the first segment of the path. Any other user may be a token, so it stays and is refused.
    """
    match = _PUBLIC_USER.match(address)
    return match[1] + address[match.end(2) + 1 :] if match else address


_PUBLIC_USER = re.compile(
    r"(https?://)([\w.%-]{1,100})(?=@[\w.-]+(?::\d{1,5})?/\2(?:/|$))", re.IGNORECASE | re.ASCII
)


def _without_user(address: str) -> str:
    """The address with *** for a user part."""
    match = _AUTHORITY.match(address)
    if match is None:
        return address
    *_, last = [None, *_AT.finditer(match[4])]
    user = unquote(match[4][: last.start()]) if last else ""
    is_ssh = not match[3] and (match[2] or "").lower() in _SSH
    if last is not None and (":" in user or not is_ssh):
        address = f"{match[1]}{MASK}@{match[4][last.end() :]}{address[match.end() :]}"
    return _SHAPES[1][0].sub(_SHAPES[1][1], address)  # a password with a slash in it


def _redact_rest(address: str) -> str:
    """The address with the values of its query and fragment cut, but for plain values of safe
    keys.
    """
    start = re.search(r"[?#]", address)
    if start is None:
        return address
    pieces = re.split(r"([?&;#])", address[start.start() :])
    rest = [pieces[0]]
    for separator, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        rest += [separator, _redact_piece(piece, is_fragment=separator == "#")]
    return address[: start.start()] + "".join(rest)


def _redact_piece(piece: str, *, is_fragment: bool) -> str:
    key, equals, value = piece.partition("=")
    if not piece or value == MASK:
        return piece
    if not equals:
        plain = (
            key.lower() in _SAFE_KEYS
            or key == MASK
            or (is_fragment and _SAFE_FRAGMENT.fullmatch(key))
        )
        return piece if plain else MASK
    if key.lower() in _SAFE_KEYS and _SAFE_VALUE.fullmatch(value):
        return piece
    return f"{key}={MASK}" if value else MASK


def refuse_login(address: str, subject: str, next_step: str) -> None:
    """Raises UsageError when the address carries a login. The message does not repeat it."""
    if has_login(address):
        summary = (
            f"the address {redacted_login(address)[:200]} carries a login, which every reader"
            " would see"
        )
        raise UsageError(summary, subject=subject, next_step=next_step)
