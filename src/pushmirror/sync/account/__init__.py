"""What we know of our own tree: its inventory, and the manifest that sites read of it."""
