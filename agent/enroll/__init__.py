"""Enrolment: registers the agent's key at the manager with a registration token."""
