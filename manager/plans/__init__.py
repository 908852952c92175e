"""What a commit would change, decided as a scan decides and never stored."""
