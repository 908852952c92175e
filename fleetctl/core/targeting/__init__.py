"""Selects the clusters of a bundle: selectors, groups, names, and dependencies between bundles."""
