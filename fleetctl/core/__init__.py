"""The rules of fleetctl as pure functions and values.

Nothing here opens a file, a socket or a process, or reads a clock, the environment or randomness;
the time, ids and random numbers are arguments.
"""
