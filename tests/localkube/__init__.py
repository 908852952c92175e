"""Real tools and a real Kubernetes API on loopback, for the demo, the tests and the bench.

Rule: the standard library only. This runs with a bare ``python3`` before any virtual environment
exists.
"""
