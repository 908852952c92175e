"""Statements that read what rollouts decide from: staged versions, partitions, Schedules and
batches.
"""
