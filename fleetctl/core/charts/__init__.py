"""Helm charts as data: where a chart comes from, what it depends on, and which login may go
where.
"""
