"""What differs from upstream: the strategies manifest, index and full."""
