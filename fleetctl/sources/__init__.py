"""Sources of bundles: Git repositories, chart repositories, OCI registries, local folders.

Untrusted input is read in child processes with limits on time, memory and size.
"""
