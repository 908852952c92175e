"""Builds a chart that helm can install from a render plan."""
