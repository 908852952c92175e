"""One module for each command, named as it is typed: `fleetctl apply` is apply.py.

A group of commands is a module (rollout.py) or a folder with one module for each sub-command
(`fleetctl cluster label` is cluster/label.py; cluster/group.py lists all of them). Two sections of
`fleetctl --help` are folders: local/ holds the commands that need no manager, settings/ holds
access and settings.
"""
