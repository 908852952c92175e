"""Formats of others, read as their owners read them: YAML as Go reads it, tar, versions, URLs."""
