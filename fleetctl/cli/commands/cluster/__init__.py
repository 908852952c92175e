"""`fleetctl cluster`."""
