"""Backoff: how long to wait before the next attempt."""
