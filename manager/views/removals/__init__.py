"""Removals: those that wait for confirmation, and those that clusters have not carried out yet."""
