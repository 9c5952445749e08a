"""Our tree by name: what it holds, how it differs from upstream's, and the manifest that sites read."""
