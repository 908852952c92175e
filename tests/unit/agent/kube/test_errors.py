"""The API server's refusals as errors of the agent."""

from __future__ import annotations

import msgspec
import pytest

from agent.kube.errors import refuse
from fleetctl.core.model.errors import (
    ClusterUnreachable,
    DryRunRefused,
    FleetError,
    ForbiddenRequest,
    NotFound,
    RefusedByForm,
    ThrottledRequest,
    ToolFailed,
    WatchExpired,
    WebhookSilent,
    WriteConflict,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("999", 300.0),
        ("²", 1.0),
        ("9" * 5000, 1.0),
        ("", 1.0),
        ("Wed", 1.0),
    ],
)
def test_how_long_a_throttled_request_waits(text: str, seconds: float) -> None:
    """Between 1 and 300 seconds; what is no number is 1."""
    with pytest.raises(ThrottledRequest) as caught:
        refuse(429, b"", {"retry-after": text}, "/api/v1/pods")
    assert caught.value.after == seconds


def error_of(code: int, **status: object) -> FleetError:
    with pytest.raises(FleetError) as caught:
        refuse(code, msgspec.json.encode(status), {}, "/api/v1/pods")
    return caught.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, ToolFailed),
        (401, ClusterUnreachable),
        (403, ForbiddenRequest),
        (404, NotFound),
        (409, WriteConflict),
        (410, WatchExpired),
        (422, ToolFailed),
        (500, ClusterUnreachable),
    ],
)
def test_the_class_follows_the_status(code: int, kind: type[FleetError]) -> None:
    assert type(error_of(code, message="no")) is kind


def test_an_error_carries_the_reason_and_the_causes() -> None:
    """As the API server's Status has them."""
    causes = [{"reason": "FieldValueInvalid", "field": "spec.x", "message": "is immutable"}]
    error = error_of(422, message="no", reason="Invalid", details={"causes": causes})
    assert isinstance(error, ToolFailed)
    assert (error.reason, error.causes) == ("Invalid", ("spec.x: is immutable",))


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (500, 'failed calling webhook "a": no answer', WebhookSilent),
        (500, "failed to create typed patch object (a/b; v1, Kind=X): .x: field", RefusedByForm),
        (400, 'admission webhook "a" does not support dry run', DryRunRefused),
    ],
)
def test_where_the_status_does_not_tell_the_message_does(
    code: int, message: str, kind: type[FleetError]
) -> None:
    assert type(error_of(code, message=message)) is kind


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"message": 7}'])
def test_an_answer_without_a_status_object_is_named_by_its_number(content: bytes) -> None:
    with pytest.raises(ClusterUnreachable, match="the API server reports: 502"):
        refuse(502, content, {}, "/")


def test_an_answer_below_400_is_no_refusal() -> None:
    refuse(200, b"", {}, "/")
