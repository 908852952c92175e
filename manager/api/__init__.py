"""The HTTP API for agents and people: authentication, limits, problem documents."""
