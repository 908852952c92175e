"""The connection to the manager: signed requests, signed desired state, TLS."""
