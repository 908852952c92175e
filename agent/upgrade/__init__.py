"""New versions of the agent: verified, tried, and taken back when they fail."""
