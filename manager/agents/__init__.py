"""The manager's side of agents: enrolment, presence, desired state, reports, agent releases."""
