"""Which enrolments the manager allows, decided without a database."""

from __future__ import annotations

import msgspec
import pytest

from fleetctl.core.model.errors import LoginError
from fleetctl.core.model.ids import ClusterId, Workspace
from manager.agents.registration import EnrolmentAction, EnrolmentFacts, decide_enrolment
from manager.store.queries.clusters import ClusterRow
from manager.store.queries.tokens import RegistrationRow

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
REGISTRATION = RegistrationRow(b"hash", "w", "paris", "c-1", "", b"{}", LATER, 1, False)
SHARED = msgspec.structs.replace(REGISTRATION, cluster="", cluster_id=None, source="edge")


def cluster(key: bytes | None) -> ClusterRow:
    return ClusterRow(
        id=ClusterId("c-1"),
        workspace=Workspace("w"),
        name="paris",
        uid="u",
        generation=1,
        created_at=NOW,
        labels=b"{}",
        annotations=b"{}",
        spec=b"{}",
        public_key=key,
        enrolled_at="",
        last_seen_at=0.0,
        address="",
        agent=b"{}",
        is_leaving=False,
        schedules="",
    )


@pytest.mark.parametrize(
    ("facts", "action"),
    [
        (EnrolmentFacts(REGISTRATION, cluster(None)), EnrolmentAction.BIND),
        (EnrolmentFacts(REGISTRATION, cluster(OTHER_KEY)), EnrolmentAction.BIND),
        (EnrolmentFacts(REGISTRATION, cluster(KEY)), EnrolmentAction.REPEAT),
        (EnrolmentFacts(SHARED, None), EnrolmentAction.CREATE),
        (EnrolmentFacts(SHARED, cluster(KEY)), EnrolmentAction.REPEAT),
    ],
)
def test_a_valid_token_binds_creates_or_repeats(
    facts: EnrolmentFacts, action: EnrolmentAction
) -> None:
    assert decide_enrolment(facts, KEY, NOW) is action


@pytest.mark.parametrize(
    ("facts", "summary"),
    [
        (EnrolmentFacts(None, None), "is wrong"),
        (EnrolmentFacts(msgspec.structs.replace(REGISTRATION, expires_at=NOW), None), "expired"),
        (EnrolmentFacts(msgspec.structs.replace(SHARED, remaining_uses=0), None), "used up"),
        (EnrolmentFacts(SHARED, cluster(OTHER_KEY)), "does not have this key"),
    ],
)
def test_a_token_that_does_not_allow_the_key_is_refused(
    facts: EnrolmentFacts, summary: str
) -> None:
    with pytest.raises(LoginError, match=summary):
        decide_enrolment(facts, KEY, NOW)
