"""The values that pass between the parts: bundles, clusters, options, plans, status, wire messages
and errors.
"""
