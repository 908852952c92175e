"""Computes the input of helm and kustomize for one cluster from files and options."""
