"""Readers of standard formats: YAML as Go reads it, tar, versions, URLs."""
