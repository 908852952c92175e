"""What the agent keeps on its disk: journal, last-applied state, conditions, status file."""
