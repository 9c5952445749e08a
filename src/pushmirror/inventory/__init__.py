"""Our tree by name: its content, its differences from upstream's, and the manifest that sites read."""
