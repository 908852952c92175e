"""Simulates very many agents over the real wire (README.md)."""
