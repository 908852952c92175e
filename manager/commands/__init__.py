"""Changes that people request: objects, removals, rollbacks, corrections."""
