"""Computes deployments from bundles, clusters and groups, and holds large removals."""
