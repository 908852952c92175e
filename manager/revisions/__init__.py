"""Revisions of bundles, deliveries to clusters, and rollbacks."""
