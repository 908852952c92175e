"""The demo: a Git server, three clusters, a manager and its agents, started and shown."""
