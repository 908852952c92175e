"""Deploys one bundle to the cluster: install, upgrade, remove, with the steps before and after."""
