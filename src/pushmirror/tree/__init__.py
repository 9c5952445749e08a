"""The served tree: what it publishes, and how files appear in it and disappear."""
