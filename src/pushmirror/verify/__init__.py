"""Verify a tree byte by byte, and repair what is wrong."""
