"""Builds URL paths. A name in a path is checked and quoted here and nowhere else, so that no name
can reach another object: `../../other/secrets/x` is one segment or an error, never four.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from fleetctl.core.model.errors import UsageError


def url_path(*segments: str) -> str:
    """`/a/b/c`, each segment checked and quoted. Raises UsageError for one that cannot be a
    name.
    """
    return "".join(f"/{segment(text)}" for text in segments)


def relative(*segments: str) -> str:
    """`a/b/c`: a path of the manager's API below `/api/v1/`. Raises as `url_path`."""
    return url_path(*segments)[1:]


def below(folder: str, *segments: str, **query: str) -> str:
    """`folder`, which is a path already, with more segments and a query."""
    return folder + url_path(*segments) + (f"?{urlencode(query, quote_via=quote)}" if query else "")


def core_path(*segments: str, **query: str) -> str:
    """A path of the Kubernetes core API: `core_path("namespaces", "a", "secrets")`."""
    return below("/api/v1", *segments, **query)


def in_namespace(namespace: str, plural: str, *name: str, **query: str) -> str:
    """The path of core objects in one namespace, or of one of them."""
    return core_path("namespaces", namespace, plural, *name, **query)


def segment(text: str) -> str:
    """`text` as one segment of a path. Raises UsageError when it is empty, `.` or `..`, or has a
    slash.
    """
    if not text or text in {".", ".."} or "/" in text or not text.isprintable():
        text_in_quotes = repr(text[:100])
        raise UsageError(
            f"{text_in_quotes} is not a name", next_step="Use small letters, digits, - and dots."
        )
    return quote(text, safe="")
