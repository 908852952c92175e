"""The tables. JSON stands in BLOBs as bytes that are passed through; what is searched or counted
has a column of its own.

Changes go into `migrations/versions`; a test compares what the migrations make with what stands
here.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# Single numbers: `epoch`, and `generation`, the counter that every redeployment takes its number
# from.
meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)

# GitRepo, ClusterGroup, ClusterRegistrationToken, Schedule, Secret, ConfigMap. `spec` of a Secret
# is encrypted.
objects = sa.Table(
    "objects",
    metadata,
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("uid", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
    sa.Column("annotations", sa.LargeBinary, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("extra", sa.LargeBinary, nullable=False),
)

# What the last scan of a GitRepo found. `commit` is the last one whose bundles were taken, `tried`
# the last one that was looked at.
repos = sa.Table(
    "repos",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("commit", sa.String, nullable=False, default=""),
    sa.Column("tried", sa.String, nullable=False, default=""),
    sa.Column("scanned_generation", sa.Integer, nullable=False, default=0),
    sa.Column("scanned_at", sa.String, nullable=False, default=""),
    sa.Column("error", sa.LargeBinary, nullable=False, default=b"null"),
    sa.Column("problems", sa.LargeBinary, nullable=False, default=b"[]"),
    sa.Column("held", sa.LargeBinary, nullable=False, default=b"null"),
)

bundles = sa.Table(
    "bundles",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("repo", sa.String, nullable=False),
    sa.Column("uid", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("commit", sa.String, nullable=False),
    sa.Column("archive", sa.String, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("pinned", sa.Integer, nullable=False, server_default="0"),
    sa.Column("pin_reason", sa.String, nullable=False, server_default=""),
    sa.Column("decision", sa.Integer, nullable=False, server_default="0"),
    # `picking` of core/target.py, when every deployment of the bundle has been matched by it:
    # another content changes none of that.
    sa.Column("matched", sa.String, nullable=False, server_default=""),
    # The release that its clusters keep since it had another name, where Git states none
    # (manager/ingest/moves.py).
    sa.Column("release", sa.String, nullable=False, server_default=""),
    sa.Index("bundles_repo", "workspace", "repo"),
    sa.Index("bundles_archive", "archive"),
)

# What a bundle has been: `number` is the bundle's generation when it was taken. `bundles.pinned`
# names the one that clusters should have in place of the newest, 0 is none.
revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("commit", sa.String, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("taken", sa.String, nullable=False),
    sa.Column("archive", sa.String, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    # Equal for equal contents (manager/revisions/history.py); "" for a revision of an older
    # manager.
    sa.Column("content", sa.String, nullable=False, server_default=""),
)

# What was decided of a bundle, by whom and why: `cause` is commit, rollback or release, or what a
# person said to the rollout. `id` comes from the counter of generations. `bundles.decision` is the
# one that its clusters follow, `deployments.decision` what each was told by.
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("cause", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("commit", sa.String, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
)

# The clusters that have a revision of their own until they are released; `number` 0: they were, and
# are told so by `decision`.
pins = sa.Table(
    "pins",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("cluster_id", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("decision", sa.Integer, nullable=False),
    sa.Index("pins_cluster", "cluster_id"),
)

# `windows`: names of the Schedules that pick it, joined by commas.
clusters = sa.Table(
    "clusters",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("uid", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
    sa.Column("annotations", sa.LargeBinary, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("public_key", sa.LargeBinary),
    sa.Column("enrolled", sa.String, nullable=False, default=""),
    sa.Column("seen", sa.Float, nullable=False, default=0.0),
    sa.Column("address", sa.String, nullable=False, default=""),
    sa.Column("agent", sa.LargeBinary, nullable=False, default=b"{}"),
    sa.Column("issued", sa.String, nullable=False, default=""),
    sa.Column("leaving", sa.Boolean, nullable=False, default=False),
    sa.Column("windows", sa.String, nullable=False, server_default=""),
    sa.UniqueConstraint("workspace", "name", name="clusters_name"),
    sa.Index("clusters_without_agent", "workspace", sqlite_where=sa.text("public_key IS NULL")),
    sa.Index("clusters_paused", "workspace", sqlite_where=sa.text("instr(spec, '\"paused\"') > 0")),
    sa.Index(
        "clusters_troubled",
        "workspace",
        sqlite_where=sa.text("instr(agent, '\"troubles\"') + instr(agent, '\"twin\"') > 0"),
    ),
    sa.Index("clusters_windows", "workspace", "windows", sqlite_where=sa.text("windows <> ''")),
)

# Options are shared by every deployment that has the same: `key` is the SHA-256 of the JSON.
options = sa.Table(
    "options",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("json", sa.LargeBinary, nullable=False),
)

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("cluster_id", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("repo", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("archive", sa.String, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("options_digest", sa.String, nullable=False),
    sa.Column("options_key", sa.String, nullable=False),
    sa.Column("target", sa.String, nullable=False),
    sa.Column("customization", sa.String, nullable=False),
    sa.Column("commit", sa.String, nullable=False),
    sa.Column("shown", sa.LargeBinary, nullable=False),
    sa.Column("keep_resources", sa.Boolean, nullable=False),
    sa.Column("removed", sa.Boolean, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("applied", sa.Integer, nullable=False, default=0),
    sa.Column("reported", sa.Integer, nullable=False, default=0),
    sa.Column("reported_at", sa.String, nullable=False, default=""),
    sa.Column("message", sa.String, nullable=False, default=""),
    sa.Column("report", sa.LargeBinary, nullable=False, default=b""),
    sa.Column("staged", sa.String, nullable=False, server_default=""),
    sa.Column("partition", sa.Integer, nullable=False, server_default="0"),
    sa.Column("position", sa.Integer, nullable=False, server_default="0"),
    sa.Column("correction", sa.Integer, nullable=False, server_default="0"),
    sa.Column("shelf", sa.Integer, sa.Computed("position >> 23", persisted=False)),
    # When it was told (0: never, or by an older manager), since when it is in `state`, when it was
    # Ready first: Unix seconds. `past`: see
    # store/commands/delivery.py.
    sa.Column("decision", sa.Integer, nullable=False, server_default="0"),
    sa.Column("told", sa.Integer, nullable=False, server_default="0"),
    sa.Column("since", sa.Integer, nullable=False, server_default="0"),
    sa.Column("well", sa.Integer, nullable=False, server_default="0"),
    sa.Column("past", sa.String, nullable=False, server_default=""),
    # Of the last report: `cause_key` of core/reasons.py, and its objects by state as
    # `Ready=3,NotReady=1`.
    sa.Column("cause", sa.String, nullable=False, server_default=""),
    sa.Column("tally", sa.String, nullable=False, server_default=""),
    # Nothing picks its cluster any more, and a person must say that it may go
    # (manager/reconcile/removal_guard.py).
    sa.Column("kept", sa.Boolean, nullable=False, server_default="0"),
    # The generation by which the cluster was told that the bundle has another name, 0 never
    # (manager/ingest/moves.py).
    sa.Column("moved", sa.Integer, nullable=False, server_default="0"),
    sa.Index("deployments_bundle", "workspace", "bundle"),
    sa.Index("deployments_archive", "archive"),
    # Who is told next, and examples of what is held; whose state is not Ready. Neither grows with a
    # fleet that is well. By shelves of the order, and within one by row, so that a change of many
    # rows in a row touches few pages of the index.
    sa.Index(
        "deployments_held",
        "workspace",
        "bundle",
        "partition",
        "state",
        "shelf",
        sqlite_where=sa.text("staged <> ''"),
    ),
    sa.Index(
        "deployments_unready",
        "workspace",
        "bundle",
        "state",
        sqlite_where=sa.text("state <> 'Ready'"),
    ),
    sa.Index(
        "deployments_removed",
        "workspace",
        "cluster_id",
        "bundle",
        sqlite_where=sa.text("removed = 1"),
    ),
    sa.Index("deployments_kept", "workspace", "bundle", "cluster_id", sqlite_where=sa.text("kept")),
    sa.Index(
        "deployments_moved",
        "workspace",
        "bundle",
        sqlite_where=sa.text("moved = generation AND reported < generation"),
    ),
)

# How many deployments there are of each sort, those that are being removed aside. Triggers keep it
# (store/counters.py).
counts = sa.Table(
    "counts",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("repo", sa.String, primary_key=True),
    sa.Column("state", sa.String, primary_key=True),
    sa.Column("held", sa.Boolean, primary_key=True),  # a newer version is staged
    sa.Column("told", sa.Boolean, primary_key=True),  # the cluster was told some version
    sa.Column("answered", sa.Boolean, primary_key=True),  # and its agent is done with that one
    sa.Column("n", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

# Removals that wait for a person, by bundle; `deployments.kept` says of which clusters. `cause` as
# in fleetctl/core/rollout/removal_guard.py, `what` has changed.
holds = sa.Table(
    "holds",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("cause", sa.String, nullable=False),
    sa.Column("what", sa.String, nullable=False),
    sa.Column("since", sa.String, nullable=False),
)

# Bundles that are to have another name or, with `old` and `new` the same, another GitRepo, as soon
# as a scan finds them so. `repo` is set where another GitRepo has made a bundle of that name, and
# "" where a person has said it.
moves = sa.Table(
    "moves",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("old", sa.String, primary_key=True),
    sa.Column("new", sa.String, primary_key=True),
    sa.Column("repo", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
)

# How many clusters have lost a bundle in a minute of Unix time, without being asked about: so that
# many small changes count as one.
losses = sa.Table(
    "losses",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("minute", sa.Integer, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)

# Versions of the agent that were added, each a file among the archives with what a release key has
# signed of it.
agent_releases = sa.Table(
    "agent_releases",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("python", sa.String, nullable=False),
    sa.Column("platform", sa.String, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("replaces_newer", sa.Boolean, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("signature", sa.String, nullable=False),
    sa.Column("added", sa.String, nullable=False),
    sa.UniqueConstraint("version", "python", "platform", name="agent_releases_version"),
)

# Which of them a cluster should run. `number` is one command's; `most` of it are under way at once,
# 0 is all.
agent_wishes = sa.Table(
    "agent_wishes",
    metadata,
    sa.Column("cluster_id", sa.String, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("most", sa.Integer, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Column("since", sa.String, nullable=False),
    sa.Index("agent_wishes_number", "number", "state"),
    sa.Index("agent_wishes_sha256", "sha256"),
)

# What a rollout holds back, shared by all clusters that wait for the same: `key` stands in
# `deployments.staged`.
wants = sa.Table(
    "wants",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("json", sa.LargeBinary, nullable=False),
)

# The rollout of each bundle that has one. `version` is the bundle's generation; `shape` its
# partitions and policy, `steps` how far each is; `dirty` 1: look again, 2: and make the partitions
# anew; `silent`: clusters that are left to be told; `ignoring`: why this version passes closed
# windows; `good`: the newest revision whose rollout was completed, 0 none.
rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("commit", sa.String, nullable=False, default=""),
    sa.Column("begun", sa.String, nullable=False),
    sa.Column("phase", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False, default=""),
    sa.Column("waiting", sa.String, nullable=False, default=""),
    sa.Column("ignoring", sa.String, nullable=False, server_default=""),
    sa.Column("shape", sa.LargeBinary, nullable=False, default=b"null"),
    sa.Column("steps", sa.LargeBinary, nullable=False, default=b"[]"),
    sa.Column("counts", sa.LargeBinary, nullable=False, default=b"[]"),
    sa.Column("wake", sa.Float, nullable=False, default=0.0),
    sa.Column("dirty", sa.Integer, nullable=False, default=2),
    sa.Column("silent", sa.Integer, nullable=False, default=0),
    sa.Column("good", sa.Integer, nullable=False, server_default="0"),
)

# Bundles whose change reaches so many deployments that it is written down in parts
# (manager/rollout/batches.py). `how`: by their rows, or by the clusters, of those that are there or
# those that shall be; `cursor`: up to where it is done.
passes = sa.Table(
    "passes",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("how", sa.String, nullable=False),
    sa.Column("cursor", sa.String, nullable=False, server_default=""),
)

# People's tokens: the value is kept as a SHA-256 only.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("expires", sa.String, nullable=False),
)

# Registration tokens. `cluster_id` is the one that may enrol; NULL (of a ClusterRegistrationToken)
# lets the manager create clusters and name them. A registration is removed with its cluster.
registrations = sa.Table(
    "registrations",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("cluster", sa.String, nullable=False),
    sa.Column("cluster_id", sa.String, sa.ForeignKey("clusters.id", ondelete="CASCADE")),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
    sa.Column("expires", sa.String, nullable=False),
    sa.Column("uses", sa.Integer, nullable=False),
    sa.Column("replace", sa.Boolean, nullable=False),
    sa.Index("registrations_cluster", "cluster_id"),
)
