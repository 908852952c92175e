"""Errors of localkube: each says in one line what is wrong and what to do about it."""


class LocalkubeError(Exception):
    """Something a person can act on; ``exit_status`` is what the command line ends with."""

    exit_status = 1


class ToolMissing(LocalkubeError):
    """A tool was not found and there is no way here to get it."""

    exit_status = 5


class NotReady(LocalkubeError):
    """A process did not come up before its deadline; the text carries its last log lines."""

    exit_status = 4
