"""The agent of one cluster: polls the manager, applies bundles as Helm releases, reports.

It only dials out, keeps its state in one directory, and needs Python, helm and kustomize.
"""
