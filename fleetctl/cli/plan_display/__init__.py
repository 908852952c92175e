"""The output of `fleetctl plan`."""
