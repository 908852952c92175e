"""Where bundles come from: Git repositories, chart repositories, OCI registries, local folders.

Foreign input is read in child processes with limits on time, memory and size.
"""
