"""Why nobody answered, told apart from the words of the libraries below."""

from __future__ import annotations

import re

_TLS = re.compile(
    r"certificate verify failed|certificate_verify_failed|self.signed certificate|hostname"
    r" mismatch",
    re.IGNORECASE,
)
_CAUSES = (
    (
        r"wrong version number|ssl: unknown_protocol|http_request",
        "does not speak TLS",
        "Use http:// if that is intended.",
    ),
    (
        r"resolv|name or service|nodename nor servname",
        "cannot be resolved",
        "Correct the address, or look at DNS.",
    ),
    (
        r"refused|unreachable|no route|all connection attempts failed",
        "does not take connections",
        "Start it, or correct the address.",
    ),
    (r"timed out|timeout", "did not answer in time", "Look at the server."),
)


def explain(error: BaseException, name: str) -> tuple[str, str]:
    """One line that names `name`, and the next step."""
    text = f"{error} {type(error).__name__}"
    if _TLS.search(text):
        match = re.search(r"verify failed: ([^(]+)", text)
        reason = match[1].strip() if match else "it is not for this host"
        return (
            f"the certificate of {name} is not trusted: {reason}",
            "Give its authority with --ca-file.",
        )
    for pattern, summary, step in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            return f"{name} {summary}", step
    return (
        f"{name} broke off the connection: {one_line(error)}",
        "Check the server; the manager tries again.",
    )


def one_line(error: BaseException) -> str:
    """The first line of a foreign error, without what may be a secret, at most 200 characters."""
    lines = str(error).splitlines()
    line = re.sub(r"(?<=://)[^/@\s]+@", "", lines[0] if lines else type(error).__name__)
    return "".join(c for c in line if c.isprintable())[:200]
