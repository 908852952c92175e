"""The program `fleetctl`: parses the command line, calls the manager, and prints.

It knows the manager only through its HTTP API (`fleetctl/client.py`). Commands that need no manager
use the core, the sources and the tools directly.
"""
