"""Texts: sprig's, Go's printing, regular expressions, encodings and paths."""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import posixpath
import re
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import quote_plus, urlsplit, urlunsplit

from fleetctl.core.gotemplate import cases, regex
from fleetctl.core.gotemplate.calling import Function
from fleetctl.core.gotemplate.errors import TemplateBudget, TemplateMistake
from fleetctl.core.gotemplate.printf import sprintf
from fleetctl.core.gotemplate.show import StringList, StringMap, quote, text_of


def strval(budget: TemplateBudget, value: Any) -> str:
    return text_of(budget, value, inside=True)


def _upper(text: str) -> str:
    """Character by character, as Go has it: ß stays."""
    return "".join(c.upper() if len(c.upper()) == 1 else c for c in text)


def _slice_text(text: str, start: int, end: int) -> str:
    """By bytes, as Go cuts."""
    return text.encode()[start:end].decode("utf-8", "replace")


def _substr(start: int, end: int, text: str) -> str:
    size = len(text.encode())
    if start < 0:
        if not 0 <= end <= size:
            raise TemplateMistake("slice bounds out of range")
        return _slice_text(text, 0, end)
    if start > size or 0 <= end < start:
        raise TemplateMistake("slice bounds out of range")
    return _slice_text(text, start, size if end < 0 or end > size else end)


def _trunc(count: int, text: str) -> str:
    size = len(text.encode())
    if count < 0 and size + count > 0:
        return _slice_text(text, size + count, size)
    return _slice_text(text, 0, count) if 0 <= count < size else text


def _abbrev(width: int, text: str) -> str:
    return text if width < 4 or len(text) <= width else text[: width - 3] + "..."


def _abbrevboth(left: int, right: int, text: str) -> str:
    if right < 4 or (left > 0 and right < 7) or len(text) <= right:
        return text
    offset = min(left, len(text))
    if len(text) - offset < right - 3:
        offset = len(text) - (right - 3)
    if offset <= 4:
        return text[: right - 3] + "..."
    if offset + right - 3 < len(text):
        return "..." + _abbrev(right - 3, text[offset:])
    return "..." + text[len(text) - (right - 3) :]


def _title(text: str) -> str:
    before, characters = " ", []
    for char in text:
        separates = (
            not (before.isalnum() or before == "_") if before.isascii() else before.isspace()
        )
        characters.append(_upper(char) if separates else char)
        before = char
    return "".join(characters)


def _untitle(text: str) -> str:
    return re.sub(r"(^|\s)(\S)", lambda m: m[1] + m[2].lower(), text)


def _wrap(
    budget: TemplateBudget, width: int, text: str, separator: str = "\n", *, long: bool = False
) -> str:
    """`long`: words longer than the width are cut."""
    width = max(1, width)
    lines: list[str] = []
    start, size = 0, 0
    while len(text) - start > width:
        if text[start] == " ":
            start += 1
            continue
        end = text.rfind(" ", start, start + width + 1)
        if end < 0 and not long:
            end = text.find(" ", start + width)
            if end < 0:
                break
        after = end + 1
        if end < 0:
            end = after = start + width
        lines.append(text[start:end])
        size += end - start + len(separator)
        budget.fits(size)
        start = after
    return separator.join([*lines, text[start:]])


def _repeat(budget: TemplateBudget, count: int, text: str) -> str:
    if count < 0:
        raise TemplateMistake("negative Repeat count")
    budget.fits(count * len(text))
    return text * count


def _replace(budget: TemplateBudget, old: str, new: str, text: str) -> str:
    budget.fits(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    return text.replace(old, new)


def _indent(budget: TemplateBudget, spaces: int, text: str) -> str:
    budget.fits(len(text) + (text.count("\n") + 1) * max(0, spaces))
    if spaces < 0:
        raise TemplateMistake("negative Repeat count")
    pad = " " * spaces
    return pad + text.replace("\n", "\n" + pad)


def _strip(chars: str, text: str) -> str:
    """`text` without any of `chars` at its ends; str.strip would look through all of `chars` for
    each character.
    """
    strip = frozenset(chars)
    start, end = 0, len(text)
    while start < end and text[start] in strip:
        start += 1
    while start < end and text[end - 1] in strip:
        end -= 1
    return text[start:end]


def _print(budget: TemplateBudget, *values: Any) -> str:
    """fmt.Sprint: a space between two values of which neither is a text."""
    parts: list[str] = []
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            parts.append(" ")
        parts.append(strval(budget, value))
    return "".join(parts)


def _print_visible(budget: TemplateBudget, *values: Any) -> str:
    """What html, js and urlquery escape: nil is `<no value>` there, and counts as a text."""
    return _print(budget, *("<no value>" if value is None else value for value in values))


def _join(budget: TemplateBudget, values: Iterable[Any], mark: Callable[[str], str] = str) -> str:
    """The values that are not nil, each through `mark`, with spaces between."""
    parts: list[str] = []
    size = 0
    for value in values:
        if value is not None:
            parts.append(mark(strval(budget, value)))
            size += len(parts[-1]) + 1
            budget.fits(size)
    return " ".join(parts)


def _b64dec(text: str) -> str:
    """Refuses what is not base64: sprig writes the error message into the result."""
    return _decode("base64", partial(base64.b64decode, validate=True), text)


def _b32dec(text: str) -> str:
    return _decode("base32", base64.b32decode, text)


def _decode(name: str, decode: Callable[[str], bytes], text: str) -> str:
    try:
        return decode(text.replace("\n", "").replace("\r", "")).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as error:
        raise TemplateMistake(f"the text is not {name}", "Correct the text.") from error


def _by_bytes(text: str) -> str:
    """One character for each byte: some functions of goutils take bytes for characters."""
    return text.encode().decode("latin-1")


def _from_bytes(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError as error:
        step = "Choose another width."
        raise TemplateMistake(
            "the width cuts a character that is not ASCII in two", step
        ) from error


def _wrap_bytes(
    budget: TemplateBudget, width: int, text: str, separator: str = "\n", *, long: bool = False
) -> str:
    lines = _wrap(budget, width, _by_bytes(text), _by_bytes(separator), long=long)
    return _from_bytes(lines)


def _nospace(text: str) -> str:
    """Go returns the text itself when there is nothing to delete."""
    by_bytes = _by_bytes(text)
    without = re.sub(r"\s", "", by_bytes)
    return text if without == by_bytes else without


def _clean(path: str) -> str:
    cleaned_path = posixpath.normpath(path) if path else "."
    return cleaned_path[1:] if cleaned_path.startswith("//") else cleaned_path


def _ext(path: str) -> str:
    name = path.rpartition("/")[2]
    return name[name.rindex(".") :] if "." in name else ""


_PLAIN_URL = re.compile(
    r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:(?=/))?(?://(?:[\w.~:-]+@)?[a-zA-Z0-9._-]*(?::\d*)?(?=[/?#]|$))?"
    r"(?:[/\w.~!$&'()*+,;=@-]*(?:/[/\w.~!$&'()*+,;=:@-]*)?)(?:\?[/\w.~!$&'()*+,;=:@?%-]*)?(?:#[/\w.~!$&'()*+,;=:@?-]*)?",
    re.ASCII,
)


def _url_parse(text: str) -> dict[str, Any]:
    """Refuses what Go and Python read differently: encoded characters, spaces, opaque addresses."""
    parts = urlsplit(text) if _PLAIN_URL.fullmatch(text) else None
    if parts is None:
        raise TemplateMistake("reads plain addresses only", "Write it as SCHEME://HOST/PATH.")
    userinfo, _, host = parts.netloc.rpartition("@")
    return {
        "scheme": parts.scheme,
        "host": host,
        "hostname": parts.hostname or "",
        "path": parts.path,
        "query": parts.query,
        "opaque": "",
        "fragment": parts.fragment,
        "userinfo": userinfo,
    }


def _url_join(parts: dict[str, Any]) -> str:
    host = str(parts.get("host") or "")
    netloc = f"{parts['userinfo']}@{host}" if parts.get("userinfo") else host
    return urlunsplit(
        [
            str(parts.get("scheme") or ""),
            netloc,
            *(str(parts.get(k) or "") for k in ("path", "query", "fragment")),
        ]
    )


def _js(budget: TemplateBudget, *values: Any) -> str:
    marks = {
        "\\": "\\\\",
        "'": "\\'",
        '"': '\\"',
        "<": "\\u003C",
        ">": "\\u003E",
        "&": "\\u0026",
        "=": "\\u003D",
    }
    return "".join(
        marks.get(c) or (f"\\u{ord(c):04X}" if ord(c) < 32 else c)
        for c in _print_visible(budget, *values)
    )


def _html(budget: TemplateBudget, *values: Any) -> str:
    return (
        html.escape(_print_visible(budget, *values))
        .replace("&quot;", "&#34;")
        .replace("&#x27;", "&#39;")
    )


def _initials(text: str) -> str:
    return "".join(word[0] for word in _by_bytes(text).split())


def _split(budget: TemplateBudget, separator: str, text: str, count: int = -1) -> StringMap:
    parts = enumerate(_parts(budget, separator, text, count) if count else [])
    return StringMap((f"_{at}", part) for at, part in parts)


def _parts(budget: TemplateBudget, separator: str, text: str, count: int = -1) -> list[str]:
    if separator == "":
        budget.fits_items(len(text))
        return list(text)
    limit = text.count(separator) + 1
    budget.fits_items(min(limit, count) if count > 0 else limit)
    return text.split(separator, count - 1 if count > 0 else -1)


def _hash(kind: str) -> Function:
    return Function(
        "s", lambda text: hashlib.new(kind, text.encode(), usedforsecurity=False).hexdigest()
    )


def _fail(text: str) -> None:
    raise TemplateMistake(text or "the template says fail")


def _change_case(change: Callable[[str], str], budget: TemplateBudget, text: str) -> str:
    """A change of case takes about as much time for a character as other functions for twenty."""
    budget.spend(19 * len(text))
    return change(text)


def _strings_of(call: Callable[..., list[str]]) -> Callable[..., StringList]:
    """The function with a result of Go's type []string, which is nil when nothing was found."""

    def strings(*args: Any) -> StringList:
        result = StringList(call(*args))
        result.is_nil = not result
        return result

    return strings


_REGEX: dict[str, Function] = {
    "regexMatch": Function("ss", regex.is_match, budget=True),
    "regexFind": Function("ss", regex.find, budget=True),
    "regexFindAll": Function("ssi", _strings_of(regex.find_all), budget=True),
    "regexReplaceAll": Function("sss", regex.replace_all, budget=True),
    "regexReplaceAllLiteral": Function(
        "sss", partial(regex.replace_all, literal=True), budget=True
    ),
    "regexSplit": Function("ssi", _strings_of(regex.split), budget=True),
}
_GO_META = re.compile(r"[\\.+*?()|\[\]{}^$]")

FUNCTIONS: dict[str, Function] = {
    "print": Function("a*", _print, budget=True),
    "println": Function(
        "a*",
        lambda budget, *values: " ".join(strval(budget, v) for v in values) + "\n",
        budget=True,
    ),
    "printf": Function(
        "sa*", lambda budget, form, *values: sprintf(budget, form, list(values)), budget=True
    ),
    "html": Function("a*", _html, budget=True),
    "js": Function("a*", _js, budget=True),
    "urlquery": Function(
        "a*",
        lambda budget, *values: quote_plus(_print_visible(budget, *values), safe=""),
        budget=True,
    ),
    "trim": Function("s", str.strip),
    "trimAll": Function("ss", _strip),
    "trimall": Function("ss", _strip),
    "trimSuffix": Function("ss", lambda end, text: text.removesuffix(end)),
    "trimPrefix": Function("ss", lambda start, text: text.removeprefix(start)),
    "upper": Function("s", _upper),
    "lower": Function("s", str.lower),
    "title": Function("s", _title),
    "untitle": Function("s", _untitle),
    "repeat": Function("is", _repeat, budget=True),
    "substr": Function("iis", _substr),
    "nospace": Function("s", _nospace),
    "trunc": Function("is", _trunc),
    "abbrev": Function("is", _abbrev),
    "abbrevboth": Function("iis", _abbrevboth),
    "initials": Function("s", _initials),
    "wrap": Function("is", _wrap_bytes, budget=True),
    "wrapWith": Function(
        "iss",
        lambda budget, width, separator, text: _wrap_bytes(
            budget, width, text, separator, long=True
        ),
        budget=True,
    ),
    "contains": Function("ss", lambda part, text: part in text),
    "hasPrefix": Function("ss", lambda part, text: text.startswith(part)),
    "hasSuffix": Function("ss", lambda part, text: text.endswith(part)),
    "quote": Function("a*", lambda budget, *values: _join(budget, values, quote), budget=True),
    "squote": Function(
        "a*", lambda budget, *values: _join(budget, values, lambda text: f"'{text}'"), budget=True
    ),
    "cat": Function("a*", lambda budget, *values: _join(budget, values), budget=True),
    "indent": Function("is", _indent, budget=True),
    "nindent": Function(
        "is", lambda budget, spaces, text: "\n" + _indent(budget, spaces, text), budget=True
    ),
    "replace": Function("sss", _replace, budget=True),
    "plural": Function("ssi", lambda singular, plural, count: singular if count == 1 else plural),
    "snakecase": Function(
        "s", partial(_change_case, partial(cases.separate, connector="_")), budget=True
    ),
    "camelcase": Function("s", partial(_change_case, cases.camel), budget=True),
    "kebabcase": Function(
        "s", partial(_change_case, partial(cases.separate, connector="-")), budget=True
    ),
    "swapcase": Function("s", partial(_change_case, cases.swap_case), budget=True),
    "toString": Function("a", strval, budget=True),
    "regexQuoteMeta": Function("s", lambda text: _GO_META.sub(r"\\\g<0>", text)),
    **_REGEX,
    **{"must" + name[0].upper() + name[1:]: function for name, function in _REGEX.items()},
    "split": Function("ss", _split, budget=True),
    "splitn": Function(
        "sis",
        lambda budget, separator, count, text: _split(budget, separator, text, count),
        budget=True,
    ),
    "splitList": Function("ss", _strings_of(_parts), budget=True),
    "b64enc": Function("s", lambda text: base64.b64encode(text.encode()).decode()),
    "b64dec": Function("s", _b64dec),
    "b32enc": Function("s", lambda text: base64.b32encode(text.encode()).decode()),
    "b32dec": Function("s", _b32dec),
    "sha1sum": _hash("sha1"),
    "sha256sum": _hash("sha256"),
    "sha512sum": _hash("sha512"),
    "adler32sum": Function("s", lambda text: str(zlib.adler32(text.encode()))),
    "urlParse": Function("s", _url_parse),
    "urlJoin": Function("d", _url_join),
    **{
        name: Function("s", lambda path: _clean(path).rpartition("/")[2] or "/" if path else ".")
        for name in ("base", "osBase")
    },
    **{
        name: Function(
            "s", lambda path: _clean(path.rpartition("/")[0] + ("/" if "/" in path else ""))
        )
        for name in ("dir", "osDir")
    },
    **{name: Function("s", _clean) for name in ("clean", "osClean")},
    **{name: Function("s", _ext) for name in ("ext", "osExt")},
    **{name: Function("s", lambda path: path.startswith("/")) for name in ("isAbs", "osIsAbs")},
    "fail": Function("s", _fail),
}
