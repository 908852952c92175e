"""Statements that write, one module per aggregate. Each function takes a `Writer` and typed values,
and returns what changed.
"""
