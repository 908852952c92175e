"""Child processes for foreign input: forks with limits, and a sandbox for kustomize."""
