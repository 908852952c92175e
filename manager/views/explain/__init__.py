"""The facts of the database that `fleetctl why` explains."""
