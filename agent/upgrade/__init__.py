"""Agent upgrades: verifies and tries a new version, and returns to the old one if it fails."""
