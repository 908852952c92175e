"""From a commit to stored bundles: follow a GitRepo, scan, detect moves, apply."""
