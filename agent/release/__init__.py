"""Helm releases of the agent: marks, records, parts, repair after a crash, and the lock against a
second helm.
"""
