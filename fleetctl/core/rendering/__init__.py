"""From the files and options of a bundle to what helm and kustomize are given on one cluster."""
