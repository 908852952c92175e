"""What people write: fleet.yaml and the manifests, read strictly, with file, line and
suggestion.
"""
