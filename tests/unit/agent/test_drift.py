"""What differs between two objects."""

from __future__ import annotations

from agent.drift import differences


class TestDifferences:
    def test_only_stated_fields_count(self) -> None:
        """Defaults and what others add are no drift; another value of a stated field is."""
        live = {"data": {"a": "2", "b": "added"}, "status": {"x": 1}}
        assert differences({"data": {"a": "1"}, "status": {"x": 2}}, live) == {"/data/a": "2"}

    def test_the_same_amount_written_otherwise_is_no_drift(self) -> None:
        """Quantities are compared as numbers, and empty maps are nothing."""
        wanted = {"cpu": "1000m", "memory": "0.5Gi", "labels": {}, "none": None, "on": True}
        assert differences(wanted, {"cpu": 1, "memory": "512Mi", "on": True}) == {}
        assert differences({"on": True}, {"on": "true"}) == {"/on": "true"}
