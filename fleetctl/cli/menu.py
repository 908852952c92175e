"""The commands of the top level. Imports nothing, so that help and completion come at once."""

from __future__ import annotations

# (command, what it does, where it lives): the top-level help. A test holds it equal to the commands that there are.
COMMANDS = (
    ("status", "the whole fleet on one screen", "overview:status"),
    ("why", "why something is not Ready, and what comes next", "why:why"),
    ("gitrepo", "Git repositories: add, list, get, sync, pause, resume, confirm, delete", "repos:app"),
    ("cluster", "clusters: register, list, get, history, label, pause, resume, upgrade-agent, delete", "clusters:app"),
    ("clustergroup", "groups of clusters: create, list, get, delete", "groups:app"),
    ("bundle", "what was made of a repository: list, status, get, diff, correct, history, moved", "bundles:app"),
    ("agent-release", "versions of the agent: keygen, sign, verify, add, list, delete", "releases:app"),
    ("rollback", "go back to an earlier revision of a bundle", "revisions:rollback"),
    ("rollout", "new versions on their way: status, pause, resume, approve, abort, ignore-windows", "rolling:app"),
    ("schedule", "when clusters may change: list, get, preview, delete", "schedules:app"),
    ("held", "removals that wait for a person: list, confirm", "held:app"),
    ("plan", "what a commit, a branch or a folder would change on the fleet", "planning:plan"),
    ("validate", "check fleet.yaml files and manifests; needs no manager", "validate:validate"),
    ("explain", "what a key of fleet.yaml or a manifest means", "explain:explain"),
    ("bundles", "what a scan would make of a folder or a commit; needs no manager", "preview:bundles"),
    ("targets", "which cluster would get what, and why; needs no manager", "preview:targets"),
    ("render", "the objects that clusters would get; needs no manager", "preview:render"),
    ("diff", "what a change in Git would change on clusters; needs no manager", "comparing:diff"),
    ("apply", "create or change objects from files", "objects:apply"),
    ("get", "show objects of any kind", "objects:get"),
    ("delete", "delete objects of any kind", "objects:delete"),
    ("wait", "wait until something is ready", "waiting:wait"),
    ("login", "log in to a manager", "login:login"),
    ("context", "managers that you are logged in to: list, use, show, delete", "contexts:app"),
    ("token", "tokens for people and programs: create, list, revoke", "tokens:app"),
    ("ui", "open the status page in a browser", "login:ui"),
    ("version", "versions of this program and of the manager", "overview:version"),
    ("completion", "shell completion for bash, zsh or fish", "complete:completion"),
)
