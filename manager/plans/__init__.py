"""Plans: what a commit would change, computed as by a scan and not stored."""
