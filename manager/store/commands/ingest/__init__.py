"""Commands for GitRepos, their scans and moves of bundles."""
