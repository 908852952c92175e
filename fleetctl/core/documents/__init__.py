"""Strict readers of fleet.yaml and the manifests: each error has file, line and suggestion."""
