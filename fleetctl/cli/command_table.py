"""The commands of the top level. Imports nothing, so that help and completion come at once."""

from __future__ import annotations

# (title, ((command, what it does, where its code is), ...)): the top-level help. A test compares it
# with the code.
SECTIONS = (
    (
        "Overview and troubleshooting",
        (
            ("status", "the whole fleet on one screen", "commands.status:status"),
            ("why", "why something is not Ready, and what happens next", "commands.why:why"),
            ("get", "show objects of any kind", "commands.get:get"),
            ("wait", "wait until something is ready", "commands.wait:wait"),
        ),
    ),
    (
        "Sources, clusters and bundles",
        (
            (
                "gitrepo",
                "Git repositories: add, list, get, sync, pause, resume, confirm, delete",
                "commands.gitrepo.group:app",
            ),
            (
                "cluster",
                (
                    "clusters: register, list, get, history, label, pause, resume, upgrade-agent,"
                    " delete"
                ),
                "commands.cluster.group:app",
            ),
            (
                "clustergroup",
                "groups of clusters: create, list, get, delete",
                "commands.clustergroup:app",
            ),
            (
                "bundle",
                "the bundles of each repository: list, status, get, diff, correct, history, moved",
                "commands.bundle.group:app",
            ),
            ("apply", "create or change objects from files", "commands.apply:apply"),
            ("delete", "delete objects of any kind", "commands.delete:delete"),
        ),
    ),
    (
        "Rollouts and safety",
        (
            (
                "plan",
                "what a commit, a branch or a folder would change on the fleet",
                "commands.plan:plan",
            ),
            (
                "rollout",
                (
                    "how new versions reach clusters: status, pause, resume, approve, abort,"
                    " ignore-windows"
                ),
                "commands.rollout:app",
            ),
            ("rollback", "return to an earlier revision of a bundle", "commands.rollback:rollback"),
            ("held", "removals that wait for confirmation: list, confirm", "commands.held:app"),
            (
                "schedule",
                "when clusters may change: list, get, preview, delete",
                "commands.schedule:app",
            ),
        ),
    ),
    (
        "Work on a repository without a manager",
        (
            (
                "validate",
                "check fleet.yaml files and manifests",
                "commands.local.validate:validate",
            ),
            ("render", "the objects that clusters would get", "commands.local.render:render"),
            (
                "targets",
                "which cluster would get which bundle, and why",
                "commands.local.targets:targets",
            ),
            ("diff", "what a change in Git would change on clusters", "commands.local.diff:diff"),
            (
                "bundles",
                "the bundles that a scan makes from a folder or a commit",
                "commands.local.bundles:bundles",
            ),
            (
                "explain",
                "the meaning of a key of fleet.yaml or a manifest",
                "commands.local.explain:explain",
            ),
        ),
    ),
    (
        "Access and settings",
        (
            ("login", "log in to a manager", "commands.settings.login:login"),
            (
                "context",
                "managers that you are logged in to: list, use, show, delete",
                "commands.settings.context:app",
            ),
            (
                "token",
                "tokens for people and programs: create, list, revoke",
                "commands.settings.token:app",
            ),
            (
                "agent-release",
                "versions of the agent: keygen, sign, verify, add, list, delete",
                "commands.settings.agent_release.group:app",
            ),
            ("ui", "open the status page in a browser", "commands.settings.ui:ui"),
            (
                "version",
                "versions of this program and of the manager",
                "commands.settings.version:version",
            ),
            (
                "completion",
                "shell completion for bash, zsh or fish",
                "commands.settings.completion:completion",
            ),
        ),
    ),
)

COMMANDS = tuple(entry for _, entries in SECTIONS for entry in entries)
