"""The type of a JSON object that comes from outside, such as a Kubernetes object.

Its values are of any type until the code that reads them has checked: this alias and the types of
msgspec are where that is said, so that `Any` is not needed elsewhere.
"""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
