"""Live objects compared with Git: watches, differences, health."""
