"""From the tree of a commit to its bundles and their problems."""
