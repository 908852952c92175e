"""Turns commits into stored bundles: polls a GitRepo, scans, detects moves, applies the result."""
