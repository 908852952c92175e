"""Compares live objects with Git: watches, differences, health."""
