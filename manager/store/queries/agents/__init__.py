"""Reads what the store keeps for each agent beside its cluster: document and contact."""
