"""Commands for access and settings."""
