"""Bring a tree to upstream's state: fetch, verify, publish by rename, and only then delete."""
