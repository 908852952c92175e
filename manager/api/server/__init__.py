"""Below the framework: connections, the HTTP protocol, worker processes."""
