"""Enrolment: a registration token becomes a key that the manager knows."""
