"""Is what the tree holds still right: every file read again, and repaired."""
