"""The ssh key that pushes, made when it is first needed."""

from __future__ import annotations

import socket
from pathlib import Path

from pushmirror.system import process

_TIMEOUT_S = 60.0


def make_key(key: Path) -> bool:
    """Make a key without a passphrase, and its .pub; False when there is one already. Raises OSError."""
    if key.exists():
        return False
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    comment = f"pushmirror@{socket.gethostname()}"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)]
    process.run(argv, timeout_s=_TIMEOUT_S).check()
    return True
