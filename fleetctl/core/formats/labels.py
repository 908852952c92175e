"""Label and annotation syntax, as Kubernetes checks it (apimachinery `validation.IsQualifiedName`,
`IsValidLabelValue`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleetctl.core.model.errors import UsageError
from fleetctl.core.model.ids import is_name

_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
KEY_RULE = (
    "A key is NAME or DNS-PREFIX/NAME; NAME has 1 to 63 letters, digits, -, _ and ., and begins and"
    " ends with a letter or digit."
)
VALUE_RULE = (
    "A label value is empty or has 1 to 63 letters, digits, -, _ and ., and begins and ends with a"
    " letter or digit."
)


def is_key(key: str) -> bool:
    """Whether `key` may be the key of a label or an annotation."""
    prefix, slash, name = key.rpartition("/")
    return _PART.fullmatch(name) is not None and (not slash or is_name(prefix))


def is_label_value(value: str) -> bool:
    return not value or _PART.fullmatch(value) is not None


def check_labels(labels: Mapping[str, str | None], subject: str) -> None:
    """Raises UsageError with the rule that a key or value breaks. A value of None, which removes a
    label, is not checked.
    """
    for key, value in labels.items():
        if not is_key(key) and value is not None:
            raise UsageError(
                f"label key {key[:80]!r} is not valid", subject=subject, next_step=KEY_RULE
            )
        if value is not None and not is_label_value(value):
            raise UsageError(
                f"label {key[:80]}: value {value[:80]!r} is not valid",
                subject=subject,
                next_step=VALUE_RULE,
            )


def check_annotation_keys(annotations: Mapping[str, str], subject: str) -> None:
    """Raises UsageError."""
    for key in annotations:
        if not is_key(key):
            raise UsageError(
                f"annotation key {key[:80]!r} is not valid", subject=subject, next_step=KEY_RULE
            )
