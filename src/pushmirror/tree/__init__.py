"""The served tree: what it publishes, and how files are added and removed."""
