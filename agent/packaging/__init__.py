"""`fleet-agent.pyz`, the agent in one file, and how it unpacks itself."""
