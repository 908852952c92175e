"""The checks of `fleetctl validate`: errors, warnings and advice about a repository."""
