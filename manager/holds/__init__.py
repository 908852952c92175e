"""Removals that wait for a person, and bundles that have moved."""
