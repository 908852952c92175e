"""The commands of the top level. Imports nothing, so that help and completion come at once."""

from __future__ import annotations

# (command, what it does, where it lives): the top-level help. A test holds it equal to the commands
# that there are.
COMMANDS = (
    ("status", "the whole fleet on one screen", "commands.status:status"),
    ("why", "why something is not Ready, and what comes next", "commands.why:why"),
    (
        "gitrepo",
        "Git repositories: add, list, get, sync, pause, resume, confirm, delete",
        "commands.gitrepo:app",
    ),
    (
        "cluster",
        "clusters: register, list, get, history, label, pause, resume, upgrade-agent, delete",
        "commands.cluster:app",
    ),
    ("clustergroup", "groups of clusters: create, list, get, delete", "commands.clustergroup:app"),
    (
        "bundle",
        "what was made of a repository: list, status, get, diff, correct, history, moved",
        "commands.bundle:app",
    ),
    (
        "agent-release",
        "versions of the agent: keygen, sign, verify, add, list, delete",
        "commands.agent_release:app",
    ),
    ("rollback", "go back to an earlier revision of a bundle", "commands.history:rollback"),
    (
        "rollout",
        "new versions on their way: status, pause, resume, approve, abort, ignore-windows",
        "commands.rollout:app",
    ),
    ("schedule", "when clusters may change: list, get, preview, delete", "commands.schedule:app"),
    ("held", "removals that wait for a person: list, confirm", "commands.held:app"),
    ("plan", "what a commit, a branch or a folder would change on the fleet", "commands.plan:plan"),
    (
        "validate",
        "check fleet.yaml files and manifests; needs no manager",
        "commands.validate:validate",
    ),
    ("explain", "what a key of fleet.yaml or a manifest means", "commands.explain:explain"),
    (
        "bundles",
        "what a scan would make of a folder or a commit; needs no manager",
        "commands.preview:bundles",
    ),
    (
        "targets",
        "which cluster would get what, and why; needs no manager",
        "commands.preview:targets",
    ),
    ("render", "the objects that clusters would get; needs no manager", "commands.preview:render"),
    (
        "diff",
        "what a change in Git would change on clusters; needs no manager",
        "commands.diff:diff",
    ),
    ("apply", "create or change objects from files", "commands.objects:apply"),
    ("get", "show objects of any kind", "commands.objects:get"),
    ("delete", "delete objects of any kind", "commands.objects:delete"),
    ("wait", "wait until something is ready", "commands.wait:wait"),
    ("login", "log in to a manager", "commands.login:login"),
    (
        "context",
        "managers that you are logged in to: list, use, show, delete",
        "commands.context:app",
    ),
    ("token", "tokens for people and programs: create, list, revoke", "commands.token:app"),
    ("ui", "open the status page in a browser", "commands.login:ui"),
    ("version", "versions of this program and of the manager", "commands.status:version"),
    ("completion", "shell completion for bash, zsh or fish", "completion:completion"),
)
