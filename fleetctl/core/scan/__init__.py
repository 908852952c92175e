"""Computes bundles and problems from the tree of a commit."""
