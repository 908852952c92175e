"""One bundle onto the cluster: install, upgrade, remove, and what goes before and after."""
