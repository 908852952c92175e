"""Triggers: what every statement changes beside its own rows, in the same transaction."""
