"""The name a mirror is known by: the default one, and whether others can do anything with a name.

Mirror checkers look for a mirror's trace as `project/trace/NAME`, under the name that the public uses.
"""

from __future__ import annotations

import socket

_NOBODYS = {"localhost", "localhost.localdomain", "localhost.localnet"}


def own_name() -> str:
    """This host's full name, as `hostname -f` finds it; perhaps one that is not public."""
    short = socket.gethostname()
    try:
        found = socket.getaddrinfo(short, None, flags=socket.AI_CANONNAME)[0][3]
    except (OSError, UnicodeError):
        found = ""
    return next((name for name in (found, socket.getfqdn(), short) if is_public(name)), short)


def is_public(name: str) -> bool:
    """Whether a name could be that of one host in the world."""
    return "." in name.strip(".") and name.casefold() not in _NOBODYS
