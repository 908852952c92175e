"""The host of the agent: log, memory, process identity, systemd."""
