"""Statements that write what rollouts decided: staged versions, partitions, Schedules and
batches.
"""
