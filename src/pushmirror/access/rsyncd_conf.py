"""The text of rsyncd.conf, from the configuration and the logins of the sites. Pure.

Guaranteed: a module is read-only, and open to everybody only if so configured, else to exactly the logins of
its sites; an archive's manifest has the archive's readers; a value that rsync would read differently is
refused. Not the business of this module: where passwords come from, and how
the text reaches the disk (daemon_files.py).

An empty `auth users` admits everybody, so there is always a rule. `%NAME%` cannot be written literally: rsync
replaces it by a variable of its environment (`%%` is no escape, although rsyncd.conf(5) says so), so such
values are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pushmirror.config.model import Access, Archive, Config, Serve
from pushmirror.config.upstream_url import MANIFEST_SUFFIX
from pushmirror.errors import ConfigError

#: Work areas, ours and rsync's, at any depth. The flags Archive-Update-* are public.
HIDDEN = (".~tmp~", ".~tmp~/***")
UNFINISHED = "*.new *.next"  # of a manifest, what is being written
_NOBODY = "*:deny"  # an auth rule that refuses every user
_LOG_FORMAT = "%o %a %m (%u) %f %l %b"  # as rsyncstats expects it, with the bytes that were really sent
_VARIABLE = re.compile(r"%[A-Z][^%]*%")
_ALL_ADDRESSES = "[::]"
RSYNC_PORT = 873

_HEAD = """\
# Written by pushmirror and overwritten with every change: edit pushmirror.toml and sites.d/ instead.
# rsync reads it anew for each connection.
"""


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """The daemon's user, machine and rsync."""

    version: tuple[int, int, int]  # of rsync
    root: bool  # the daemon is root's
    ipv6: bool  # this machine has it

    @property
    def knows_auth_digest(self) -> bool:
        return self.version >= (3, 5, 0)

    @property
    def may_try_chroot(self) -> bool:
        """Whether an unset `use chroot` means: if the kernel permits it (since rsync 3.2.7)."""
        return self.version >= (3, 2, 7)


@dataclass(frozen=True, slots=True)
class DaemonPaths:
    """Where the daemon's files are."""

    directory: Path

    @property
    def conf(self) -> Path:
        return self.directory / "rsyncd.conf"

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def stunnel(self) -> Path:
        return self.directory / "stunnel.conf"

    @property
    def log(self) -> Path:
        return self.directory / "transfers.log"

    @property
    def tls_log(self) -> Path:
        """stunnel's log, also if `serve` does not run it."""
        return self.directory / "stunnel.log"

    def lock(self, archive: str) -> Path:
        """The lock file of a module: modules with one file would share `max connections`."""
        return self.directory / f"{archive}.lock"

    def manifest_lock(self, archive: str) -> Path:
        """The lock file of a manifest's module; an archive's name may end in ".manifest"."""
        return self.directory / f"{archive}.lock-of-manifest"


def render(
    config: Config, logins: Mapping[str, Sequence[str]], places: DaemonPaths, facts: DaemonFacts
) -> str:
    """The file's text; `logins` are the users of each site, by its name. Raises ConfigError."""
    sections = [_HEAD, *_lines(_globals(config.serve, places, facts))]
    for archive in config.archives.values():
        if archive.access is not Access.NONE:
            users = [
                user
                for site in sorted(config.sites.values(), key=lambda one: one.name)
                if archive.name in (*site.archives, *site.reads)
                for user in logins.get(site.name, ())
            ]
            sections += ["", f"[{_module_name(archive)}]", *_lines(_module(archive, users, places))]
            if archive.manifest:
                directory = config.state.manifests / archive.name
                beside = _manifest(archive, directory, users, places)
                sections += ["", f"[{archive.module_name}{MANIFEST_SUFFIX}]", *_lines(beside)]
    return "\n".join([*sections, ""])


def listening(address: str) -> tuple[str, int]:
    """Address and port of `host:port`; an empty address: all of this machine, IPv4 and IPv6."""
    host, _, port = address.rpartition(":")
    if not 0 < int(port) < 65536:
        raise ConfigError(f'serve: "{address}": expected a port from 1 to 65535')
    return "" if host == _ALL_ADDRESSES else host.strip("[]"), int(port)


def value(key: str, text: str) -> str:
    """Text as a value of rsyncd.conf; ConfigError if rsync would read another value."""
    if found := _VARIABLE.search(text):
        raise ConfigError(
            f'{key}: found "{text}", in which rsync reads {found[0]} as an environment variable',
            hint="rsyncd.conf cannot express it: use another name",
        )
    if text.endswith("\\"):
        raise ConfigError(
            f'{key}: found "{text}", which ends in a backslash: rsync would continue the line',
            hint="remove the trailing backslash",
        )
    return text


def path_value(key: str, path: Path) -> str:
    """A path as a value of rsyncd.conf: the final slash, which rsync removes, protects a trailing blank."""
    text = str(path)
    return value(key, f"{text}/" if text.endswith(("\\", " ")) else text)


def _globals(serve: Serve, places: DaemonPaths, facts: DaemonFacts) -> Iterator[tuple[str, str]]:
    host, port = listening(serve.rsync)
    yield "port", str(port)
    if host:  # without, rsync opens a socket for each family
        yield "address", value("serve.rsync", host)
    yield "socket options", "SO_KEEPALIVE, TCP_NODELAY"
    yield "log file", path_value("state.directory", places.log)
    yield "transfer logging", "yes"
    yield "log format", _LOG_FORMAT
    yield "reverse lookup", "no"  # a site's slow name server would hold up its login
    yield from _confinement(serve, facts)
    # Only what is uploaded is munged, and nothing can be: links leave as they are either way. But with
    # munging, rsync would refuse a tree that has a directory /rsyncd-munged.
    yield "munge symlinks", "no"
    yield "numeric ids", "yes"  # user names are not public
    yield "read only", "yes"
    yield "list", "yes"
    yield "strict modes", "yes"
    yield "max connections", str(serve.max_connections)
    yield "timeout", str(int(serve.timeout.total_seconds()))
    yield "dont compress", "*"  # packages are compressed
    if serve.refuse_options:
        yield "refuse options", " ".join(serve.refuse_options)
    if serve.auth_digest:
        if not facts.knows_auth_digest:
            found = ".".join(map(str, facts.version))
            raise ConfigError(
                f'serve.auth_digest: found "{serve.auth_digest}", which needs rsync 3.5.0; this is {found}',
                hint="remove auth_digest, or install a newer rsync",
            )
        yield "auth digest", serve.auth_digest


def _confinement(serve: Serve, facts: DaemonFacts) -> Iterator[tuple[str, str]]:
    if facts.root:
        yield "use chroot", "yes"
        yield "uid", serve.uid
        yield "gid", serve.gid
    elif not facts.may_try_chroot:
        yield "use chroot", "no"
    # else unset: the units grant CAP_SYS_CHROOT, and without it rsync goes on without


def _module(archive: Archive, users: Sequence[str], places: DaemonPaths) -> Iterator[tuple[str, str]]:
    key = f"archives.{archive.name}"
    yield "path", path_value(f"{key}.path", archive.path)
    if comment := archive.comment.strip():
        yield "comment", value(f"{key}.comment", comment)
    yield "lock file", path_value("state.directory", places.lock(archive.name))
    yield "exclude", " ".join(HIDDEN)
    yield from _readers(archive, users, places)


def _manifest(
    archive: Archive, directory: Path, users: Sequence[str], places: DaemonPaths
) -> Iterator[tuple[str, str]]:
    """The module of an archive's manifest: same readers, not listed."""
    yield "path", path_value("state.directory", directory)
    yield "list", "no"
    yield "lock file", path_value("state.directory", places.manifest_lock(archive.name))
    yield "exclude", UNFINISHED
    yield from _readers(archive, users, places)


def _readers(archive: Archive, users: Sequence[str], places: DaemonPaths) -> Iterator[tuple[str, str]]:
    if archive.hosts_allow:
        yield "hosts allow", " ".join(archive.hosts_allow)
        if any(_needs_a_name(peer) for peer in archive.hosts_allow):
            yield "reverse lookup", "yes"
    if archive.access is Access.SITES:
        yield "auth users", " ".join(users) or _NOBODY
        yield "secrets file", path_value("state.directory", places.secrets)


def _needs_a_name(peer: str) -> bool:
    """Whether a pattern is of host names, not of addresses."""
    return "*" in peer and any(character.isalpha() for character in peer)


def _module_name(archive: Archive) -> str:
    if archive.module_name.casefold() == "global":
        raise ConfigError(
            f'archives.{archive.name}: "[{archive.module_name}]" has a special meaning in rsyncd.conf',
            hint='set another module for the archive, or access = "none"',
        )
    return archive.module_name


def _lines(pairs: Iterator[tuple[str, str]]) -> list[str]:
    return [f"{key} = {text}" for key, text in pairs]
