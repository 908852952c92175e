"""Runs helm and kustomize, and child processes in general."""
