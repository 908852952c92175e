"""From bundles, clusters and groups to deployments, and the limit on removals."""
