"""The tree of a commit: paths, globs, symbolic links and .fleetignore files."""
