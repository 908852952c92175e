"""Fetches of a Git commit into a bare store, in a child process."""
