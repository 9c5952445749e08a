"""The line of a site's authorized_keys that lets a hub's key do one thing. Pure; sshd(8) has the format."""

from __future__ import annotations

from collections.abc import Sequence

from pushmirror.errors import UsageError

PUSHMIRROR = "/usr/local/bin/pushmirror receive"
FTPSYNC = "/usr/bin/ftpsync"  # Debian's package
FTPSYNC_OF_A_TARBALL = "~/bin/ftpsync"

_RESTRICT = ("restrict",)  # since OpenSSH 7.2, also against what later ones learn
_BEFORE_RESTRICT = ("no-port-forwarding", "no-X11-forwarding", "no-agent-forwarding", "no-pty")


def line(public_key: str, command: str, addresses: Sequence[str] = (), *, old_ssh: bool = False) -> str:
    """One line: the key may run the command and do nothing else, and only from these addresses.

    No addresses: from everywhere. `old_ssh` is for an sshd before OpenSSH 7.2. UsageError when the key
    is not one.
    """
    words = public_key.split(maxsplit=2)
    if len(words) < 2 or not public_key.strip().isprintable():
        raise UsageError("expected a public key on one line, such as: ssh-ed25519 AAAA… hub.example.org")
    options = [*(_BEFORE_RESTRICT if old_ssh else _RESTRICT)]
    if addresses:
        options.append(f'from="{",".join(addresses)}"')
    quoted = command.replace('"', r"\"")  # all that sshd(8) needs escaped
    options.append(f'command="{quoted}"')
    return f"{','.join(options)} {' '.join(words)}"
