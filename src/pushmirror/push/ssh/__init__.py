"""Triggers over ssh: connections, host keys, the program ssh."""
