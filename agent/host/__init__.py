"""The host that the agent runs on: log, memory, process identity, systemd."""
