"""The address an archive is pulled from, as a value.

Guaranteed of every parsed one: no password, no `..`, no pattern that a daemon would expand, and neither
host nor user can be taken for an option of rsync or ssh.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?", re.ASCII)
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}")
_EXAMPLE = '"rsync://user@host/module", "rsyncs://…" (TLS), "rsync+ssh://user@host/path" or "file:///path"'


class Scheme(StrEnum):
    """How upstream is reached."""

    RSYNC = "rsync"  # an rsync daemon
    RSYNCS = "rsyncs"  # an rsync daemon behind TLS
    RSYNC_SSH = "rsync+ssh"  # rsync started through ssh
    FILE = "file"  # a directory of this machine, such as a mounted disk of upstream's
    RSYNCD_SSH = "rsyncd+ssh"  # an rsync daemon started through ssh, for one connection


_BY_PATH = (Scheme.RSYNC_SSH, Scheme.FILE)
MANIFEST_SUFFIX = (
    ".manifest"  # of the module beside another one, in which its tree's manifest is (docs/manifest.md)
)


@dataclass(frozen=True, slots=True)
class UpstreamUrl:
    """One upstream address."""

    scheme: Scheme
    user: str | None
    host: str  # an IPv6 address has no brackets here; empty: a directory of this machine
    port: int | None  # none: the scheme's own
    path: str  # MODULE[/SUB] at a daemon, an absolute path else; no slash at the end

    @property
    def module(self) -> str:
        """The daemon's module; empty where there is no daemon."""
        return "" if self.scheme in _BY_PATH else self.path.partition("/")[0]

    @property
    def manifest(self) -> UpstreamUrl:
        """Where the manifest of the daemon's module is, if it offers one."""
        return replace(self, path=f"{self.module}{MANIFEST_SUFFIX}")

    @property
    def host_in_url(self) -> str:
        """The host, an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{user}{self.host_in_url}{port}/{self.path.removeprefix('/')}"


def parse_upstream(value: object) -> UpstreamUrl:
    """An upstream's address from its URL; a ValueError never repeats the URL, for it may hold a password."""
    if isinstance(value, UpstreamUrl):
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected a URL: {_EXAMPLE}")  # noqa: TRY004  a validator's error is a ValueError
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in set(Scheme):
        raise ValueError(f"expected a URL: {_EXAMPLE}")
    authority, _, path = rest.partition("/")
    if scheme == Scheme.FILE:
        if authority:
            raise ValueError('the URL of a directory of this machine has three slashes: "file:///path"')
        return UpstreamUrl(Scheme.FILE, None, "", None, _path(Scheme.FILE, path))
    user, _, location = authority.rpartition("@")
    host, port = _host_and_port(location)
    return UpstreamUrl(Scheme(scheme), _user(user), host, port, _path(Scheme(scheme), path))


def _user(text: str) -> str | None:
    if ":" in text:
        raise ValueError("a password must not be in the URL; put it into password_file")
    if text and not _USER.fullmatch(text):
        raise ValueError("the URL's user may have letters, digits and . _ @ + - only")
    return text or None


def _host_and_port(text: str) -> tuple[str, int | None]:
    bracketed = _IPV6.match(text)
    host, rest = (bracketed[1], text[bracketed.end() :]) if bracketed else _split_port(text)
    if not bracketed and not _HOST.fullmatch(host):
        raise ValueError("the URL needs a host name, an IPv4 address or an IPv6 address in brackets")
    if not rest:
        return host, None
    port = rest.removeprefix(":")
    if rest == port or not (_PORT.fullmatch(port) and 0 < int(port) < 65536):
        raise ValueError("the URL's port is not a number from 1 to 65535")
    return host, int(port)


def _split_port(text: str) -> tuple[str, str]:
    host, colon, port = text.partition(":")
    return host, colon + port


def _path(scheme: Scheme, text: str) -> str:
    path = text.strip("/")
    if not path:
        wanted = "path" if scheme in _BY_PATH else "module"
        raise ValueError(f"the URL names no {wanted}; expected {_EXAMPLE}")
    if ".." in path.split("/") or not path.isprintable() or set(path) & set("*?[]\\ "):
        raise ValueError("the URL's path may not have .. or any of * ? [ ] \\ and spaces")
    return f"/{path}" if scheme in _BY_PATH else path
