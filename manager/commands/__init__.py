"""Changes that people ask for: objects, removals, rollbacks, corrections."""
