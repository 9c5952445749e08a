"""Formats of a Debian archive, parsed and rendered: bytes in, values out, no I/O."""
