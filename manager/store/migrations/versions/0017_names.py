"""Tables, columns and indexes get the names of what they hold.

SQLite renames a table or a column in the schema alone: no row is written, and the indexes and
triggers that use the name follow. An index cannot be renamed, so that some are built again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_TABLES = {
    "agent_wishes": "agent_targets",
    "holds": "held_removals",
    "losses": "recent_removals",
    "passes": "batch_jobs",
    "wants": "staged_targets",
}
_COLUMNS = {
    "agent_releases": {"added": "added_at"},
    "agent_targets": {"most": "max_concurrent", "since": "state_since"},
    "batch_jobs": {"how": "method"},
    "bundles": {
        "created": "created_at",
        "matched": "matched_targeting",
        "pinned": "pinned_revision",
    },
    "clusters": {
        "created": "created_at",
        "enrolled": "enrolled_at",
        "issued": "issued_at",
        "leaving": "is_leaving",
        "seen": "last_seen_at",
        "windows": "schedules",
    },
    "counts": {"answered": "is_current", "held": "is_staged", "told": "is_sent"},
    "decisions": {"at": "decided_at", "who": "person"},
    "deployments": {
        "applied": "applied_generation",
        "cause": "cause_key",
        "kept": "removal_held",
        "moved": "moved_generation",
        "past": "delivery_log",
        "removed": "is_removed",
        "reported": "reported_generation",
        "shelf": "order_block",
        "shown": "bundle_facts",
        "since": "state_since",
        "staged": "staged_key",
        "tally": "resource_counts",
        "told": "sent_at",
        "well": "first_ready_at",
    },
    "held_removals": {"since": "held_since", "what": "change"},
    "moves": {"at": "requested_at", "new": "new_name", "old": "old_name"},
    "objects": {"created": "created_at"},
    "recent_removals": {"count": "cluster_count"},
    "registrations": {"expires": "expires_at", "uses": "remaining_uses"},
    "repos": {"held": "held_removal", "tried": "checked_commit"},
    "revisions": {"content": "content_digest", "taken": "recorded_at"},
    "rollouts": {
        "begun": "started_at",
        "good": "last_good_revision",
        "ignoring": "window_override",
        "shape": "partition_plan",
        "silent": "unsent_count",
        "waiting": "waiting_for",
        "wake": "wake_at",
    },
    "tokens": {"created": "created_at", "expires": "expires_at"},
}


def upgrade() -> None:
    for old, new in _TABLES.items():
        op.execute(f"ALTER TABLE {old} RENAME TO {new}")
    for table, names in _COLUMNS.items():
        for old, new in names.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for index in (
        "agent_wishes_number",
        "agent_wishes_sha256",
        "clusters_windows",
        "deployments_held",
        "deployments_kept",
    ):
        op.drop_index(index)
    op.create_index("agent_targets_number", "agent_targets", ["number", "state"])
    op.create_index("agent_targets_sha256", "agent_targets", ["sha256"])
    op.create_index(
        "clusters_schedules",
        "clusters",
        ["workspace", "schedules"],
        sqlite_where=sa.text("schedules <> ''"),
    )
    op.create_index(
        "deployments_staged",
        "deployments",
        ["workspace", "bundle", "partition", "state", "order_block"],
        sqlite_where=sa.text("staged_key <> ''"),
    )
    op.create_index(
        "deployments_removal_held",
        "deployments",
        ["workspace", "bundle", "cluster_id"],
        sqlite_where=sa.text("removal_held"),
    )
