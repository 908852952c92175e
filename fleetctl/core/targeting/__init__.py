"""Which clusters a bundle is for: selectors, groups, names, and dependencies between bundles."""
