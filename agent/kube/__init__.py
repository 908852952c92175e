"""A small client of the Kubernetes API: kubeconfig, requests, watches, leases, impersonation."""
