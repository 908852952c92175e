"""Queries about GitRepos, their scans, archives and moves of bundles."""
