"""Keys, certificates, tokens and sealed secrets of the manager."""
