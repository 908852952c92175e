"""Rollouts: staged versions, admission of clusters, actions of people, and windows."""
