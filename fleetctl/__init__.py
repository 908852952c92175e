"""The command line program and the libraries that the manager and the agent share."""
