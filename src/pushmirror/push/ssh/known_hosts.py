"""The sites' pinned ssh host keys, in a file that OpenSSH reads too (see sshd(8)).

Guaranteed: a key is added only for a host that has none, by one write under a lock, so that neither two of
us nor an `ssh` that adds its own line lose one; what an operator wrote (comments, hashed names, patterns,
several keys, @revoked, @cert-authority) keeps its meaning and its place. A host is looked up by its name,
never by its address. A line that cannot be read counts for nothing, as in OpenSSH.
"""

from __future__ import annotations

import hmac
import os
import shlex
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from pushmirror.archive.paths import encoded
from pushmirror.config.model import Site
from pushmirror.errors import HostKeyChanged
from pushmirror.system import files, locks

_SSH_PORT = 22
_PATTERN = frozenset("*?!/")  # a field with one of these is more than a list of names
_PATIENCE_S = 3.0  # with who writes it at the moment: a push waits for this, with all its other sites
_MARKERS = ("@revoked", "@cert-authority")

#: Host key algorithms that are asked for; without ssh-rsa, whose signature is SHA-1.
_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@dataclass(frozen=True, slots=True)
class Pin:
    """A key that a host may show."""

    line: int  # in the file, from 1
    key: asyncssh.SSHKey

    @property
    def fingerprint(self) -> str:
        """As OpenSSH prints it: SHA256:…"""
        return self.key.get_fingerprint()


@dataclass(frozen=True, slots=True)
class Pins:
    """What the file says of one host."""

    trusted: tuple[Pin, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()  # who may sign its host certificates
    revoked: tuple[asyncssh.SSHKey, ...] = ()  # never accepted

    @property
    def is_new(self) -> bool:
        """Whether any key that is not revoked is as good as another."""
        return not self.trusted and not self.authorities

    def has(self, key: asyncssh.SSHKey) -> bool:
        """Whether the host may show this key."""
        return key not in self.revoked and any(pin.key == key for pin in self.trusted)

    def algorithms(self) -> list[str]:
        """What to ask the host for: the types of its pinned keys first.

        A server with keys of several types is then not refused for one that was not pinned, and one that
        has none of the pinned types left still shows its new key, which can be named.
        """
        pinned = {name for pin in self.trusted for name in pin.key.sig_algorithms}
        plain = sorted(_ALGORITHMS, key=lambda name: name.encode() not in pinned)  # a stable sort
        certified = [f"{name}-cert-v01@openssh.com" for name in _ALGORITHMS]
        return [*certified, *plain] if self.authorities else plain


def entry_name(host: str, port: int | None) -> str:
    """A host's name in the file."""
    name = host.lower()
    return name if port in {None, _SSH_PORT} else f"[{name}]:{port}"


def is_same_host(one: Site, other: Site) -> bool:
    """Whether two sites have one name in the file."""
    return entry_name(one.host, one.port) == entry_name(other.host, other.port)


def pins_of(text: str, host: str, port: int | None) -> Pins:
    """What a file's text says of a host."""
    name = entry_name(host, port)
    trusted: list[Pin] = []
    authorities: list[asyncssh.SSHKey] = []
    revoked: list[asyncssh.SSHKey] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not _may_match(line, name):
            continue
        try:
            keys, cas, bad, *_ = asyncssh.import_known_hosts(line).match(name, "", None)
        except ValueError:
            continue
        trusted += (Pin(number, key) for key in keys)
        authorities += cas
        revoked += bad
    return Pins(tuple(trusted), tuple(authorities), tuple(revoked))


def without(text: str, host: str, port: int | None) -> str:
    """The text without a host's pinned keys; marked lines and patterns stay, they are the operator's."""
    name = entry_name(host, port)
    return "\n".join(line for old in text.split("\n") for line in _without_name(old, name))


def changed(file: Path, host: str, port: int | None, *, site: str, pins: Pins, shown: str) -> HostKeyChanged:
    """The error for a host that shows another key than the pinned one; `shown` is its fingerprint."""
    known = " or ".join(f"{pin.fingerprint} (line {pin.line})" for pin in pins.trusted)
    return HostKeyChanged(
        f"{site}: host key {shown} does not match the trusted {known or 'certificate authority'} in {file}; "
        "nothing was sent to it",
        hint="ask the site's operator; if the new key is right, remove the old one: "
        f"ssh-keygen -f {shlex.quote(str(file))} -R {shlex.quote(entry_name(host, port))}",
    )


def pinned(file: Path, host: str, port: int | None) -> Pins:
    """What the file says of a host; nothing when there is no file. OSError when it cannot be read."""
    return pins_of(_read(file), host, port)


def pin(file: Path, host: str, port: int | None, key: asyncssh.SSHKey, *, site: str) -> None:
    """Add a host's key; nothing happens when it is there.

    Raises HostKeyChanged, which names `site`, when another key was pinned in the meantime, OSError, and
    PushmirrorError when somebody holds the lock for too long.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with locks.locked(file.parent, patience_s=_PATIENCE_S):
        text = _read(file)
        pins = pins_of(text, host, port)
        if pins.has(key):
            return
        if not pins.is_new or key in pins.revoked:
            raise changed(file, host, port, site=site, pins=pins, shown=key.get_fingerprint())
        line = f"{entry_name(host, port)} {key.export_public_key('openssh').decode().strip()}\n"
        _append(file, line if not text or text.endswith("\n") else f"\n{line}")


def unpin(file: Path, host: str, port: int | None) -> bool:
    """Forget a host's keys; whether there were any. OSError when the file cannot be written.

    PushmirrorError when somebody holds the lock for too long.
    """
    if not file.exists():
        return False
    with locks.locked(file.parent, patience_s=_PATIENCE_S):
        text = _read(file)
        rest = without(text, host, port)
        if rest != text:
            mode = file.stat().st_mode & 0o777
            files.write_atomically(file.resolve(), encoded(rest), mode=mode)
        return rest != text


def _may_match(line: str, name: str) -> bool:
    """A cheap look at a line, so that of hundreds of hosts only one's key is decoded."""
    fields = line.split(None, 2)
    if len(fields) < 2 or fields[0].startswith("#"):
        return False
    names = fields[1] if fields[0].startswith("@") else fields[0]
    if names.startswith("|"):
        return _is_hash_of(names, name)
    return name in names.split(",") or not _PATTERN.isdisjoint(names)


def _is_hash_of(hashed: str, name: str) -> bool:
    """Whether `|1|salt|digest`, which HashKnownHosts makes, stands for a name."""
    try:
        _, _, salt, digest = hashed.split("|")
        return hmac.digest(b64decode(salt), name.encode(), "sha1") == b64decode(digest)
    except ValueError:
        return False


def _without_name(line: str, name: str) -> Iterator[str]:
    names, _, rest = line.lstrip().partition(" ")
    if names.startswith(("#", *_MARKERS)) or not _may_match(line, name):
        yield line
    elif not names.startswith("|"):
        if not _PATTERN.isdisjoint(names):
            yield line
        elif others := [other for other in names.split(",") if other != name]:
            yield f"{','.join(others)} {rest}"


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def _append(file: Path, line: str) -> None:
    """In one write(2): renaming a new file into its place would lose what an `ssh` adds at that moment."""
    is_ours = not file.exists()
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        if is_ours:
            os.fchmod(handle, 0o644)  # whatever the umask says: there is nothing secret in it
        os.write(handle, encoded(line))
        os.fsync(handle)
    finally:
        os.close(handle)
