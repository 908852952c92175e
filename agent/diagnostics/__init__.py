"""The commands `fleet-agent check` and `fleet-agent status`, and the self-test of a new version."""
