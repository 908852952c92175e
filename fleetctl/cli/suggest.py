"""Words of other tools, and the command for each here. The nearest known word is
fleetctl/core/text/suggest.py.
"""

from __future__ import annotations

# Words that people bring from kubectl, flux and argocd, and the command for each.
COMMANDS = {
    "create": "apply -f",
    "describe": "why",
    "edit": "apply -f",
    "events": "bundle history",
    "log": "why",
    "logs": "why",
    "patch": "apply -f",
    "reconcile": "gitrepo sync",
    "replace": "apply -f",
    "resume": "gitrepo resume, cluster resume or rollout resume",
    "pause": "gitrepo pause, cluster pause or rollout pause",
    "suspend": "gitrepo pause or cluster pause",
    "sync": "gitrepo sync",
    "history": "bundle history or cluster history",
    "label": "cluster label",
    "register": "cluster register",
    "undo": "rollback",
    "tree": "bundle get",
    "trace": "why",
    "logout": "context delete",
    "whoami": "context show",
    "config": "context",
    "uninstall": "gitrepo delete or cluster delete",
    "rm": "delete",
    "ls": "get",
    "list": "get",
}
VERBS = {
    "rm": "delete",
    "remove": "delete",
    "ls": "list",
    "describe": "get",
    "show": "get",
    "suspend": "pause",
    "unsuspend": "resume",
    "unpause": "resume",
    "reconcile": "sync",
    "refresh": "sync",
    "create": "add",
    "undo": "rollback",
    "rollback": "fleetctl rollback",
    "labels": "label",
    "add": "register",
    "join": "register",
}
