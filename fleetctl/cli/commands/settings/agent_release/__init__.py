"""`fleetctl agent-release`."""
