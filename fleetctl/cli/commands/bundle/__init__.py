"""`fleetctl bundle`."""
