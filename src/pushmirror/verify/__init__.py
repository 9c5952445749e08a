"""Reads a tree again, byte by byte, and repairs what is wrong."""
