"""Texts: sprig's, Go's printing, regular expressions, encodings and paths."""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import posixpath
import re
import zlib
from typing import Any
from urllib.parse import quote_plus, urlsplit, urlunsplit

from fleetctl.core.template.calling import Function
from fleetctl.core.template.errors import Limits, Mistake
from fleetctl.core.template.regex import compiled, expanded
from fleetctl.core.template.show import quoted, sprintf, text_of


def strval(value: Any) -> str:
    return text_of(value, inside=True)


def _upper(text: str) -> str:
    """Character by character, as Go has it: ß stays."""
    return "".join(c.upper() if len(c.upper()) == 1 else c for c in text)


def _cut(text: str, start: int, end: int) -> str:
    """By bytes, as Go cuts."""
    return text.encode()[start:end].decode("utf-8", "replace")


def _substr(start: int, end: int, text: str) -> str:
    size = len(text.encode())
    if start < 0:
        return _cut(text, 0, end)
    if start > size or 0 <= end < start:
        raise Mistake("slice bounds out of range")
    return _cut(text, start, size if end < 0 or end > size else end)


def _trunc(count: int, text: str) -> str:
    size = len(text.encode())
    if count < 0 and size + count > 0:
        return _cut(text, size + count, size)
    return _cut(text, 0, count) if 0 <= count < size else text


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
    before, found = " ", []
    for char in text:
        separates = not (before.isalnum() or before == "_") if before.isascii() else before.isspace()
        found.append(_upper(char) if separates else char)
        before = char
    return "".join(found)


def _untitle(text: str) -> str:
    return re.sub(r"(^|\s)(\S)", lambda m: m[1] + m[2].lower(), text)


def _words(text: str) -> list[str]:
    """Where xstrings breaks a text into words."""
    spaced = re.sub(r"[\s_\-.]+", " ", text)
    spaced = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", spaced)
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", spaced)
    return spaced.split()


def _camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[\s_\-]+", text) if word)


def _wrap(width: int, text: str, separator: str = "\n", *, long: bool = False) -> str:
    width = max(1, width)
    found, left = [], text
    while len(left) > width:
        if left[0] == " ":
            left = left[1:]
            continue
        at = left.rfind(" ", 0, width + 1)
        if at >= 0:
            found.append(left[:at])
            left = left[at + 1 :]
        elif long:
            found.append(left[:width])
            left = left[width:]
        else:
            at = left.find(" ", width)
            if at < 0:
                break
            found.append(left[:at])
            left = left[at + 1 :]
    return separator.join([*found, left])


def _repeat(limits: Limits, count: int, text: str) -> str:
    if count < 0:
        raise Mistake("negative Repeat count")
    _fits(limits, count * len(text))
    return text * count


def _replace(limits: Limits, old: str, new: str, text: str) -> str:
    _fits(limits, len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    return text.replace(old, new)


def _indent(limits: Limits, spaces: int, text: str) -> str:
    _fits(limits, len(text) + (text.count("\n") + 1) * max(0, spaces))
    if spaces < 0:
        raise Mistake("negative Repeat count")
    pad = " " * spaces
    return pad + text.replace("\n", "\n" + pad)


def _fits(limits: Limits, size: int) -> None:
    if size > limits.size:
        raise Mistake(f"a text longer than {limits.size} characters")


def _print(*values: Any) -> str:
    """fmt.Sprint: a space between two values of which neither is a text."""
    found = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            found += " "
        found += strval(value)
    return found


def _b64dec(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return f"illegal base64 data at input byte {_illegal(text)}"


def _illegal(text: str) -> int:
    match = re.match(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3})?", text)
    return match.end() if match else 0


def _b32dec(text: str) -> str:
    try:
        return base64.b32decode(text).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as why:
        return f"illegal base32 data: {why}"


def _split_regex(pattern: str, text: str, count: int) -> list[str]:
    if count == 0:
        return []
    found: list[str] = []
    start = 0
    for match in compiled(pattern).finditer(text):
        if 0 < count <= len(found) + 1:
            break
        if match.end() == 0 or (match.end() == match.start() == len(text)):
            continue
        found.append(text[start : match.start()])
        start = match.end()
    return [*found, text[start:]]


def _find_all(pattern: str, text: str, count: int) -> list[str]:
    found = [m[0] for m in compiled(pattern).finditer(text)]
    return found if count < 0 else found[:count]


def _find(pattern: str, text: str) -> str:
    match = compiled(pattern).search(text)
    return match[0] if match else ""


def _clean(path: str) -> str:
    found = posixpath.normpath(path) if path else "."
    return found[1:] if found.startswith("//") else found


def _ext(path: str) -> str:
    name = path.rpartition("/")[2]
    return name[name.rindex(".") :] if "." in name else ""


def _url_parse(text: str) -> dict[str, Any]:
    parts = urlsplit(text)
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
    return urlunsplit([str(parts.get("scheme") or ""), netloc, *(str(parts.get(k) or "") for k in ("path", "query", "fragment"))])


def _js(*values: Any) -> str:
    marks = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
    return "".join(marks.get(c) or (f"\\u{ord(c):04X}" if ord(c) < 32 else c) for c in _print(*values))


def _initials(text: str) -> str:
    return "".join(word[0] for word in text.split())


def _split(separator: str, text: str, count: int = -1) -> dict[str, Any]:
    parts = list(text) if separator == "" else text.split(separator, count - 1 if count > 0 else -1)
    return {f"_{at}": part for at, part in enumerate(parts)}


def _hash(kind: str) -> Function:
    return Function("s", lambda text: hashlib.new(kind, text.encode(), usedforsecurity=False).hexdigest())


def _fail(text: str) -> None:
    raise Mistake(text or "the template says fail")


_REGEX: dict[str, Function] = {
    "regexMatch": Function("ss", lambda pattern, text: compiled(pattern).search(text) is not None),
    "regexFind": Function("ss", _find),
    "regexFindAll": Function("ssi", _find_all),
    "regexReplaceAll": Function("sss", lambda pattern, text, new: compiled(pattern).sub(lambda m: expanded(new, m), text)),
    "regexReplaceAllLiteral": Function("sss", lambda pattern, text, new: compiled(pattern).sub(lambda _: new, text)),
    "regexSplit": Function("ssi", _split_regex),
}
_GO_META = re.compile(r"[\\.+*?()|\[\]{}^$]")

FUNCTIONS: dict[str, Function] = {
    "print": Function("a*", _print),
    "println": Function("a*", lambda *values: " ".join(strval(v) for v in values) + "\n"),
    "printf": Function("sa*", lambda form, *values: sprintf(form, list(values))),
    "html": Function("a*", lambda *v: html.escape(_print(*v)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")),
    "js": Function("a*", _js),
    "urlquery": Function("a*", lambda *values: quote_plus(_print(*values), safe="")),
    "trim": Function("s", str.strip),
    "trimAll": Function("ss", lambda chars, text: text.strip(chars) if chars else text),
    "trimall": Function("ss", lambda chars, text: text.strip(chars) if chars else text),
    "trimSuffix": Function("ss", lambda end, text: text.removesuffix(end)),
    "trimPrefix": Function("ss", lambda start, text: text.removeprefix(start)),
    "upper": Function("s", _upper),
    "lower": Function("s", str.lower),
    "title": Function("s", _title),
    "untitle": Function("s", _untitle),
    "repeat": Function("is", _repeat, limits=True),
    "substr": Function("iis", _substr),
    "nospace": Function("s", lambda text: re.sub(r"\s", "", text)),
    "trunc": Function("is", _trunc),
    "abbrev": Function("is", _abbrev),
    "abbrevboth": Function("iis", _abbrevboth),
    "initials": Function("s", _initials),
    "wrap": Function("is", _wrap),
    "wrapWith": Function("iss", lambda width, separator, text: _wrap(width, text, separator, long=True)),
    "contains": Function("ss", lambda part, text: part in text),
    "hasPrefix": Function("ss", lambda part, text: text.startswith(part)),
    "hasSuffix": Function("ss", lambda part, text: text.endswith(part)),
    "quote": Function("a*", lambda *values: " ".join(quoted(strval(v)) for v in values if v is not None)),
    "squote": Function("a*", lambda *values: " ".join(f"'{strval(v)}'" for v in values if v is not None)),
    "cat": Function("a*", lambda *values: " ".join(strval(v) for v in values if v is not None)),
    "indent": Function("is", _indent, limits=True),
    "nindent": Function("is", lambda limits, spaces, text: "\n" + _indent(limits, spaces, text), limits=True),
    "replace": Function("sss", _replace, limits=True),
    "plural": Function("ssi", lambda one, many, count: one if count == 1 else many),
    "snakecase": Function("s", lambda text: "_".join(_words(text)).lower()),
    "camelcase": Function("s", _camel),
    "kebabcase": Function("s", lambda text: "-".join(_words(text)).lower()),
    "swapcase": Function("s", str.swapcase),
    "toString": Function("a", strval),
    "regexQuoteMeta": Function("s", lambda text: _GO_META.sub(r"\\\g<0>", text)),
    **_REGEX,
    **{"must" + name[0].upper() + name[1:]: function for name, function in _REGEX.items()},
    "split": Function("ss", _split),
    "splitn": Function("sis", lambda separator, count, text: _split(separator, text, count)),
    "splitList": Function("ss", lambda separator, text: list(text) if separator == "" else text.split(separator)),
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
    **{name: Function("s", lambda path: _clean(path).rpartition("/")[2] or "/" if path else ".") for name in ("base", "osBase")},
    **{name: Function("s", lambda path: _clean(path.rpartition("/")[0] + ("/" if "/" in path else ""))) for name in ("dir", "osDir")},
    **{name: Function("s", _clean) for name in ("clean", "osClean")},
    **{name: Function("s", _ext) for name in ("ext", "osExt")},
    **{name: Function("s", lambda path: path.startswith("/")) for name in ("isAbs", "osIsAbs")},
    "fail": Function("s", _fail),
}
