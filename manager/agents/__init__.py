"""What concerns agents: enrolment, presence, desired state, status reports, agent releases."""
