"""The triggers that insert the rows beside a new cluster, and raise the revision of its document.

Rule: every change of a row that a document is built from raises the document's revision in the same
transaction, whichever statement made the change. So a document never changes without its revision.
Secrets and ConfigMaps are the exception: `mark_copies_changed` in `commands/documents.py` raises
the revisions of the clusters that get a copy.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.engine import Connection

from .install import install

# A revision is a time in milliseconds that only grows. After a database was restored from a
# backup, a plain counter would give the same revision to another document, and an agent that has
# the lost document would be told that nothing changed.
MILLISECONDS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
NEXT_REVISION = f"max(revision + 1, {MILLISECONDS})"
_RAISE = "UPDATE cluster_documents SET revision = :next".replace(":next", NEXT_REVISION)

# The columns that `desired_rows` reads, and those that select its rows.
_DEPLOYMENT_COLUMNS = (
    "generation",
    "archive",
    "size",
    "options_digest",
    "options_key",
    "commit",
    "repo",
    "bundle_facts",
    "keep_resources",
    "is_removed",
    "correction",
    "sent_at",
)
_CLUSTER_COLUMNS = ("workspace", "name", "labels", "annotations", "spec", "public_key")


def _differ(columns: Iterable[str]) -> str:
    return " OR ".join(f'OLD."{name}" IS NOT NEW."{name}"' for name in columns)


def _list(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


_INSERT_DOCUMENT = """
INSERT INTO cluster_documents (cluster_id, revision, issued_at)
    VALUES (NEW.id, :revision, CAST(strftime('%s', 'now') AS INTEGER));
""".replace(":revision", MILLISECONDS)
_INSERT_CONTACT = "INSERT INTO cluster_contacts (cluster_id) VALUES (NEW.id);"
_OF_RELEASE = " WHERE cluster_id IN (SELECT cluster_id FROM agent_targets WHERE sha256 = "
_RAISE_OF_RELEASE = _RAISE + _OF_RELEASE
_DOCUMENT_TRIGGERS = {
    "document_of_new_cluster": f"AFTER INSERT ON clusters BEGIN {_INSERT_DOCUMENT} END",
    "contact_of_new_cluster": f"AFTER INSERT ON clusters BEGIN {_INSERT_CONTACT} END",
    "document_of_changed_cluster": (
        f"AFTER UPDATE OF {_list(_CLUSTER_COLUMNS)} ON clusters WHEN {_differ(_CLUSTER_COLUMNS)}"
        f" BEGIN {_RAISE} WHERE cluster_id = NEW.id; END"
    ),
    "document_of_new_deployment": (
        "AFTER INSERT ON deployments WHEN NEW.generation > 0"
        f" BEGIN {_RAISE} WHERE cluster_id = NEW.cluster_id; END"
    ),
    "document_of_deleted_deployment": (
        "AFTER DELETE ON deployments WHEN OLD.generation > 0"
        f" BEGIN {_RAISE} WHERE cluster_id = OLD.cluster_id; END"
    ),
    "document_of_changed_deployment": (
        f"AFTER UPDATE OF {_list(_DEPLOYMENT_COLUMNS)} ON deployments"
        f" WHEN (OLD.generation > 0 OR NEW.generation > 0) AND ({_differ(_DEPLOYMENT_COLUMNS)})"
        f" BEGIN {_RAISE} WHERE cluster_id = NEW.cluster_id; END"
    ),
    "document_of_new_target": (
        f"AFTER INSERT ON agent_targets BEGIN {_RAISE} WHERE cluster_id = NEW.cluster_id; END"
    ),
    "document_of_deleted_target": (
        f"AFTER DELETE ON agent_targets BEGIN {_RAISE} WHERE cluster_id = OLD.cluster_id; END"
    ),
    "document_of_changed_target": (
        "AFTER UPDATE OF number, sha256, state ON agent_targets"
        f" WHEN {_differ(('number', 'sha256'))}"
        " OR (OLD.state = 'queued') IS NOT (NEW.state = 'queued')"
        f" BEGIN {_RAISE} WHERE cluster_id = NEW.cluster_id; END"
    ),
    "document_of_new_release": (
        f"AFTER INSERT ON agent_releases BEGIN {_RAISE_OF_RELEASE}NEW.sha256); END"
    ),
    "document_of_deleted_release": (
        f"AFTER DELETE ON agent_releases BEGIN {_RAISE_OF_RELEASE}OLD.sha256); END"
    ),
    "document_of_changed_release": (
        f"AFTER UPDATE ON agent_releases BEGIN {_RAISE_OF_RELEASE}NEW.sha256); END"
    ),
}


def ensure(connection: Connection) -> None:
    """Create the triggers, unless exactly these exist."""
    install(connection, _DOCUMENT_TRIGGERS)
