"""The tables of the database. JSON is stored as bytes in BLOB columns; a value that is searched or
counted has its own column.

A change of a table needs a migration in `migrations/versions`; a test compares the result of the
migrations with this module.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# Single numbers: the `epoch`, and `generation`, the counter from which every redeployment and every
# decision takes its number.
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
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
    sa.Column("annotations", sa.LargeBinary, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("extra", sa.LargeBinary, nullable=False),
)

# The result of the last scan of a GitRepo. `commit`: the last commit whose bundles were stored;
# `checked_commit`: the last commit that was scanned; `held_removal`: the removal that waits for a
# confirmation (JSON).
repos = sa.Table(
    "repos",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("commit", sa.String, nullable=False, default=""),
    sa.Column("checked_commit", sa.String, nullable=False, default=""),
    sa.Column("scanned_generation", sa.Integer, nullable=False, default=0),
    sa.Column("scanned_at", sa.String, nullable=False, default=""),
    sa.Column("error", sa.LargeBinary, nullable=False, default=b"null"),
    sa.Column("problems", sa.LargeBinary, nullable=False, default=b"[]"),
    sa.Column("held_removal", sa.LargeBinary, nullable=False, default=b"null"),
)

bundles = sa.Table(
    "bundles",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("repo", sa.String, nullable=False),
    sa.Column("uid", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("commit", sa.String, nullable=False),
    sa.Column("archive", sa.String, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("pinned_revision", sa.Integer, nullable=False, server_default="0"),
    sa.Column("pin_reason", sa.String, nullable=False, server_default=""),
    sa.Column("decision", sa.Integer, nullable=False, server_default="0"),
    # The digest of the targeting (`picking` in fleetctl/core/targeting) by which every deployment
    # of the bundle was matched, "" for none. A commit that keeps it needs no new matching.
    sa.Column("matched_targeting", sa.String, nullable=False, server_default=""),
    # The Helm release that the clusters keep from an earlier name of the bundle
    # (manager/ingest/moves.py).
    sa.Column("release", sa.String, nullable=False, server_default=""),
    sa.Index("bundles_repo", "workspace", "repo"),
    sa.Index("bundles_archive", "archive"),
)

# The revisions of each bundle. `number`: the generation of the bundle when the revision was
# recorded. `bundles.pinned_revision` names the revision that clusters get in place of the newest, 0
# for none.
revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("commit", sa.String, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("recorded_at", sa.String, nullable=False),
    sa.Column("archive", sa.String, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    # Equal for equal contents (manager/revisions/history.py); "" if an older manager recorded the
    # revision.
    sa.Column("content_digest", sa.String, nullable=False, server_default=""),
)

# The audit log: each decision about a bundle, with the person and the reason. `cause`: commit,
# rollback, release, or the verb of a rollout command. `id` comes from the counter of generations.
# `bundles.decision`: the decision that the bundle follows; `deployments.decision`: the decision by
# which the cluster was sent its version.
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
    sa.Column("person", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("decided_at", sa.String, nullable=False),
)

# Pins of single clusters. `number`: the revision that the cluster gets; 0: `decision` has released
# the cluster, which follows the bundle again.
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

# `schedules`: the names of the Schedules that select the cluster, joined by commas;
# `is_leaving`: the agent has the order to remove everything.
clusters = sa.Table(
    "clusters",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("uid", sa.String, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
    sa.Column("annotations", sa.LargeBinary, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("public_key", sa.LargeBinary),
    sa.Column("enrolled_at", sa.String, nullable=False, default=""),
    sa.Column("agent", sa.LargeBinary, nullable=False, default=b"{}"),
    sa.Column("is_leaving", sa.Boolean, nullable=False, default=False),
    sa.Column("schedules", sa.String, nullable=False, server_default=""),
    sa.UniqueConstraint("workspace", "name", name="clusters_name"),
    sa.Index("clusters_without_agent", "workspace", sqlite_where=sa.text("public_key IS NULL")),
    sa.Index("clusters_paused", "workspace", sqlite_where=sa.text("instr(spec, '\"paused\"') > 0")),
    sa.Index(
        "clusters_troubled",
        "workspace",
        sqlite_where=sa.text("instr(agent, '\"troubles\"') + instr(agent, '\"twin\"') > 0"),
    ),
    sa.Index(
        "clusters_schedules", "workspace", "schedules", sqlite_where=sa.text("schedules <> ''")
    ),
)

# The desired-state document of each cluster. Triggers (triggers.py) insert the row of a new cluster
# and raise `revision` whenever the content changes; `issued_at`: when a command or a renewal issued
# the document last, in Unix seconds.
cluster_documents = sa.Table(
    "cluster_documents",
    metadata,
    sa.Column(
        "cluster_id",
        sa.String,
        sa.ForeignKey("clusters.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("issued_at", sa.Integer, nullable=False),
    sa.Index("cluster_documents_issued_at", "issued_at"),
    sqlite_with_rowid=False,
)

# When and from where each cluster was heard, written in groups. A trigger inserts the row of a new
# cluster. `reporter`: the instance of the agent whose full report is stored, `report_seq`: the
# number of its last report.
cluster_contacts = sa.Table(
    "cluster_contacts",
    metadata,
    sa.Column(
        "cluster_id",
        sa.String,
        sa.ForeignKey("clusters.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("last_seen_at", sa.Float, nullable=False, server_default="0"),
    sa.Column("address", sa.String, nullable=False, server_default=""),
    sa.Column("reporter", sa.String, nullable=False, server_default=""),
    sa.Column("report_seq", sa.Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

# The options of deployments. Deployments with equal options share a row: `key` is the SHA-256 of
# the JSON.
options = sa.Table(
    "options",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("json", sa.LargeBinary, nullable=False),
)

# A bundle on a cluster. `generation`: what the cluster was sent last, below 1 for nothing; the
# agent reported `reported_generation` and applied `applied_generation`. `is_removed`: the row is a
# tombstone, the agent has the order to remove the bundle. `bundle_facts`: the labels, `dependsOn`
# and `paused` of the bundle (JSON). `staged_key`: the version that a rollout holds back, a key of
# `staged_targets`, "" for none. `order_block`: groups neighbours in the order of the rollout.
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
    sa.Column("bundle_facts", sa.LargeBinary, nullable=False),
    sa.Column("keep_resources", sa.Boolean, nullable=False),
    sa.Column("is_removed", sa.Boolean, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("applied_generation", sa.Integer, nullable=False, default=0),
    sa.Column("reported_generation", sa.Integer, nullable=False, default=0),
    sa.Column("reported_at", sa.String, nullable=False, default=""),
    sa.Column("message", sa.String, nullable=False, default=""),
    sa.Column("report", sa.LargeBinary, nullable=False, default=b""),
    sa.Column("staged_key", sa.String, nullable=False, server_default=""),
    sa.Column("partition", sa.Integer, nullable=False, server_default="0"),
    sa.Column("position", sa.Integer, nullable=False, server_default="0"),
    sa.Column("correction", sa.Integer, nullable=False, server_default="0"),
    sa.Column("order_block", sa.Integer, sa.Computed("position >> 23", persisted=False)),
    # Unix seconds: when the cluster was sent the generation (0: never, or by an older manager),
    # since when the deployment is in `state`, when it was first Ready. `delivery_log`: the earlier
    # deliveries (store/commands/delivery.py).
    sa.Column("decision", sa.Integer, nullable=False, server_default="0"),
    sa.Column("sent_at", sa.Integer, nullable=False, server_default="0"),
    sa.Column("state_since", sa.Integer, nullable=False, server_default="0"),
    sa.Column("first_ready_at", sa.Integer, nullable=False, server_default="0"),
    sa.Column("delivery_log", sa.String, nullable=False, server_default=""),
    # From the last report: `cause_key` of fleetctl/core/model/reasons.py, and the number of objects
    # in each state as `Ready=3,NotReady=1`.
    sa.Column("cause_key", sa.String, nullable=False, server_default=""),
    sa.Column("resource_counts", sa.String, nullable=False, server_default=""),
    # No target selects the cluster any more, and a person must confirm the removal
    # (manager/reconcile/removal_guard.py).
    sa.Column("removal_held", sa.Boolean, nullable=False, server_default="0"),
    # The generation that sent the cluster the bundle under a new name, 0 for none
    # (manager/ingest/moves.py).
    sa.Column("moved_generation", sa.Integer, nullable=False, server_default="0"),
    sa.Index("deployments_bundle", "workspace", "bundle"),
    sa.Index("deployments_archive", "archive"),
    # `deployments_staged` finds the clusters that a rollout admits next, `deployments_unready` the
    # deployments that are not Ready. Both stay small in a healthy fleet. The first one is sorted by
    # blocks of the order and inside a block by row id, so that an update of many consecutive rows
    # writes few pages of the index.
    sa.Index(
        "deployments_staged",
        "workspace",
        "bundle",
        "partition",
        "state",
        "order_block",
        sqlite_where=sa.text("staged_key <> ''"),
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
        sqlite_where=sa.text("is_removed = 1"),
    ),
    sa.Index(
        "deployments_removal_held",
        "workspace",
        "bundle",
        "cluster_id",
        sqlite_where=sa.text("removal_held"),
    ),
    sa.Index(
        "deployments_moved",
        "workspace",
        "bundle",
        sqlite_where=sa.text("moved_generation = generation AND reported_generation < generation"),
    ),
)

# The number of deployments by these columns, without tombstones. Triggers maintain it
# (store/triggers/counts.py).
counts = sa.Table(
    "counts",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("repo", sa.String, primary_key=True),
    sa.Column("state", sa.String, primary_key=True),
    sa.Column("is_staged", sa.Boolean, primary_key=True),  # a rollout holds back a newer version
    sa.Column("is_sent", sa.Boolean, primary_key=True),  # the cluster was sent some version
    sa.Column("is_current", sa.Boolean, primary_key=True),  # the agent applied it or failed to
    sa.Column("n", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

# Bundles with removals that a person must confirm; `deployments.removal_held` marks the clusters.
# `cause`: as in fleetctl/core/rollout/removal_guard.py; `change`: what changed (labels, targets or
# groups).
held_removals = sa.Table(
    "held_removals",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("cause", sa.String, nullable=False),
    sa.Column("change", sa.String, nullable=False),
    sa.Column("held_since", sa.String, nullable=False),
)

# Moves that wait for a scan: a bundle gets a new name or, if `old_name` equals `new_name`, another
# GitRepo. `repo`: the GitRepo that claims the bundle, "" if a person requested the move.
moves = sa.Table(
    "moves",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("old_name", sa.String, primary_key=True),
    sa.Column("new_name", sa.String, primary_key=True),
    sa.Column("repo", sa.String, nullable=False),
    sa.Column("requested_at", sa.String, nullable=False),
)

# How many clusters lost a bundle, without a confirmation, in each minute of Unix time: many small
# removals count together.
recent_removals = sa.Table(
    "recent_removals",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("minute", sa.Integer, primary_key=True),
    sa.Column("cluster_count", sa.Integer, nullable=False),
)

# Agent releases. Each is a file among the archives, with the signature of a release key.
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
    sa.Column("added_at", sa.String, nullable=False),
    sa.UniqueConstraint("version", "python", "platform", name="agent_releases_version"),
)

# The agent release that a cluster should run. `number` identifies the command that set it; of one
# command at most `max_concurrent` clusters upgrade at once, 0 means all.
agent_targets = sa.Table(
    "agent_targets",
    metadata,
    sa.Column("cluster_id", sa.String, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("max_concurrent", sa.Integer, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Column("state_since", sa.String, nullable=False),
    sa.Index("agent_targets_number", "number", "state"),
    sa.Index("agent_targets_sha256", "sha256"),
)

# The versions that rollouts hold back. Clusters that wait for the same version share a row;
# `deployments.staged_key` holds the `key`.
staged_targets = sa.Table(
    "staged_targets",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("json", sa.LargeBinary, nullable=False),
)

# The rollout of a bundle. `version`: the generation of the bundle; `partition_plan`: the partitions
# and the policy; `steps`: the progress of each partition; `dirty`: see `Dirty` in keys.py;
# `unsent_count`: how many clusters do not have the version yet; `window_override`: why this version
# ignores closed windows, "" if it does not; `last_good_revision`: the newest revision whose rollout
# completed, 0 for none; `wake_at`: when time alone changes the decision, Unix seconds, 0 for never.
rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("commit", sa.String, nullable=False, default=""),
    sa.Column("started_at", sa.String, nullable=False),
    sa.Column("phase", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False, default=""),
    sa.Column("waiting_for", sa.String, nullable=False, default=""),
    sa.Column("window_override", sa.String, nullable=False, server_default=""),
    sa.Column("partition_plan", sa.LargeBinary, nullable=False, default=b"null"),
    sa.Column("steps", sa.LargeBinary, nullable=False, default=b"[]"),
    sa.Column("counts", sa.LargeBinary, nullable=False, default=b"[]"),
    sa.Column("wake_at", sa.Float, nullable=False, default=0.0),
    sa.Column("dirty", sa.Integer, nullable=False, default=2),
    sa.Column("unsent_count", sa.Integer, nullable=False, default=0),
    sa.Column("last_good_revision", sa.Integer, nullable=False, server_default="0"),
)

# Bundles whose change reaches so many deployments that it is stored in several transactions
# (manager/rollout/batches.py). `method`: by the rows that exist or by the clusters to match;
# `cursor`: the last row or cluster that is done.
batch_jobs = sa.Table(
    "batch_jobs",
    metadata,
    sa.Column("workspace", sa.String, primary_key=True),
    sa.Column("bundle", sa.String, primary_key=True),
    sa.Column("method", sa.String, nullable=False),
    sa.Column("cursor", sa.String, nullable=False, server_default=""),
)

# People's tokens. Only the SHA-256 of a token is stored.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("expires_at", sa.String, nullable=False),
)

# Registration tokens. `cluster_id`: the cluster that may enrol; NULL (for a
# ClusterRegistrationToken): the manager creates the clusters. A registration is deleted with its
# cluster.
registrations = sa.Table(
    "registrations",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("workspace", sa.String, nullable=False),
    sa.Column("cluster", sa.String, nullable=False),
    sa.Column("cluster_id", sa.String, sa.ForeignKey("clusters.id", ondelete="CASCADE")),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", sa.String, nullable=False),
    sa.Column("remaining_uses", sa.Integer, nullable=False),
    sa.Column("replace", sa.Boolean, nullable=False),
    sa.Index("registrations_cluster", "cluster_id"),
)
