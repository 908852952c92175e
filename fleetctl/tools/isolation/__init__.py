"""Child processes for untrusted input: forks with limits, and a sandbox for kustomize."""
