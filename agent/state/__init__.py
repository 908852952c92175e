"""The agent's files: journal, last-applied state, conditions, status file."""
