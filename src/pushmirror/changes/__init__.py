"""Detect what differs from upstream, by one of the strategies manifest, index and full."""
