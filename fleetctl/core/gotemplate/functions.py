"""The functions of a template: Go's own and sprig's, each with the types of its arguments.

Left out, as in Fleet: env, expandenv, include, tpl, getHostByName. Left out here as well, and said
so: whatever gives another value each time (now, random texts, keys, certificates), because a
cluster's values would never come to rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from fleetctl.core.gotemplate import comparing, containers, numbers, strings
from fleetctl.core.gotemplate.calling import Function
from fleetctl.core.gotemplate.errors import TemplateMistake
from fleetctl.core.text.suggest import close_words

FUNCTIONS: dict[str, Function] = {
    **strings.FUNCTIONS,
    **numbers.FUNCTIONS,
    **containers.FUNCTIONS,
    **comparing.FUNCTIONS,
}
_OTHER_EACH_TIME = frozenset(
    {
        "now",
        "ago",
        "shuffle",
        "uuidv4",
        "bcrypt",
        "htpasswd",
        "derivePassword",
        "encryptAES",
        "decryptAES",
        "buildCustomCert",
    }
    | {f"rand{kind}" for kind in ("AlphaNum", "Alpha", "Ascii", "Numeric", "Bytes", "Int")}
    | {
        f"gen{kind}"
        for kind in (
            "PrivateKey",
            "CA",
            "CAWithKey",
            "SelfSignedCert",
            "SelfSignedCertWithKey",
            "SignedCert",
            "SignedCertWithKey",
        )
    }
)
_FORBIDDEN_NAMES = frozenset({"env", "expandenv", "include", "tpl", "getHostByName"})
_OF_HELM = {
    "toYaml": "toJson",
    "fromYaml": "fromJson",
    "required": "fail",
    "lookup": "",
    "toToml": "toJson",
}
_DATES = frozenset(
    {
        "date",
        "dateInZone",
        "date_in_zone",
        "dateModify",
        "date_modify",
        "mustDateModify",
        "must_date_modify",
        "htmlDate",
        "htmlDateInZone",
    }
    | {"toDate", "mustToDate", "unixEpoch", "duration", "durationRound"}
)


_MAX_COMPARED, _MAX_KNOWN = 64, 1_000


def find(name: str) -> Function:
    """Raises Mistake with what to do instead."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if name in _OTHER_EACH_TIME:
        raise TemplateMistake(
            f"{name} would give another value each time",
            "Write the value down, or let the chart's own templates make it.",
        )
    if name in _FORBIDDEN_NAMES:
        raise TemplateMistake(
            f"function {name!r} is not allowed here",
            "Use the cluster's labels, annotations or templateValues.",
        )
    if name in _DATES:
        raise TemplateMistake(f"{name} is not known in this version", "Write the text of the date.")
    near = _OF_HELM.get(name) or nearest(name, [*FUNCTIONS, "and", "or"])
    text = (
        "for a text that only looks like a template set helm.disablePreProcess, or write `${"
        f' "${{{name:.40}}}" }}`.'
    )
    step = f"Did you mean {near}? Or {text}" if near else text[0].upper() + text[1:]
    raise TemplateMistake(f'function "{name:.100}" not defined', step)


def nearest(name: str, names: Iterable[str]) -> str:
    """The known name that `name` is most like, "" for none. Long names and long lists are not
    compared: it would take too long.
    """
    if len(name) > _MAX_COMPARED:
        return ""
    matches = close_words(
        name, [word for word in islice(names, _MAX_KNOWN) if len(word) <= _MAX_COMPARED]
    )
    return matches[0] if matches else ""
