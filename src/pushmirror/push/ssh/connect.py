"""Connect to a site by ssh and log in; errors in plain words.

Guaranteed: only the configured key is offered; no agent, password or ~/.ssh/config is used; nothing is sent
to a host whose key is not the pinned one; a new host's key is pinned after a successful login; every error
is a TriggerFailed that names the site.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh

from pushmirror.config.model import Push, Site
from pushmirror.errors import HostKeyChanged, PushmirrorError, TriggerFailed
from pushmirror.push.ssh import known_hosts
from pushmirror.push.ssh.known_hosts import Pins

_PORT = 22
_KEEPALIVE_S = 45  # ftpsync's ServerAliveInterval (archvsync.md, 4) …
_KEEPALIVE_TIMES = 3  # … and OpenSSH's ServerAliveCountMax
_MAX_SAID = 200  # characters of what a server says that go into a message

#: As by the resolver: family, kind, protocol, name, address.
Place = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A site's ssh address, account and key."""

    site: str
    host: str
    port: int
    user: str
    key: Path

    @classmethod
    def of(cls, site: Site, push: Push) -> Endpoint:
        """A site's endpoint, with the defaults of [push]."""
        return cls(site.name, site.host, site.port or _PORT, site.user, site.key or push.key)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"site {self.site} ({host}:{self.port})"


class Connector:
    """Makes connections, a limited number at a time."""

    def __init__(self, push: Push, known_hosts_file: Path) -> None:
        self._file = known_hosts_file
        self._limit_s = push.connect_timeout.total_seconds()
        self._turns = asyncio.Semaphore(push.handshakes)

    async def connect(self, to: Endpoint) -> asyncssh.SSHClientConnection:
        """Connect and log in, each within the connect_timeout; raises TriggerFailed.

        A new host key is pinned.
        """
        judge = HostKeyCheck(self.pinned(to))
        connection = await self.log_in(to, judge)
        if judge.pins.is_new and judge.shown:
            try:
                await asyncio.to_thread(self._pin, to, judge.shown)
            except BaseException:
                await drop(connection)
                raise
        return connection

    async def log_in(self, to: Endpoint, judge: HostKeyCheck) -> asyncssh.SSHClientConnection:
        """As `connect`, without pinning; the check has the host key.

        Only servers that have sent something take one of the limited places.
        """
        key = load_key(to)
        sock = await self._dial(to)
        try:
            with _translated(to, late=f"sent nothing within {self._limit_s:.0f} s"):
                async with asyncio.timeout(self._limit_s):
                    await _readable(sock)
            async with self._turns:
                return await self._shake_hands(to, sock, key, judge)
        except BaseException:
            sock.close()
            raise

    async def _dial(self, to: Endpoint) -> socket.socket:
        """A TCP connection; not among the limited number, so that dead sites do not delay others."""
        loop = asyncio.get_running_loop()
        with _translated(to, late=f"has a host name that was not resolved within {self._limit_s:.0f} s"):
            async with asyncio.timeout(self._limit_s):
                places = await resolve(to)
        with _translated(to, late=f"did not answer within {self._limit_s:.0f} s"):
            async with asyncio.timeout(self._limit_s) as limit:
                for left in range(len(places), 1, -1):  # each its share of the time that is left
                    share_s = ((limit.when() or 0.0) - loop.time()) / left
                    try:
                        async with asyncio.timeout(share_s):
                            return await _dialled(places[-left])
                    except OSError:  # TimeoutError is one
                        continue
                return await _dialled(places[-1])

    def pinned(self, to: Endpoint) -> Pins:
        """The pinned host keys of a site."""
        try:
            return known_hosts.pinned(self._file, to.host, to.port)
        except OSError as exc:
            raise TriggerFailed(
                f"{to}: cannot check its host key: cannot read {self._file}: {exc.strerror}",
                hint="let the user who pushes read this file and its directory",
            ) from exc

    def _pin(self, to: Endpoint, key: asyncssh.SSHKey) -> None:
        try:
            known_hosts.pin(self._file, to.host, to.port, key, site=str(to))
        except HostKeyChanged:
            raise
        except (OSError, PushmirrorError) as exc:
            raise TriggerFailed(
                f"{to}: cannot store its host key in {self._file}: {exc}",
                hint="let the user who pushes write this file and its directory",
            ) from exc

    async def _shake_hands(
        self, to: Endpoint, sock: socket.socket, key: Sequence[asyncssh.SSHKeyPair], judge: HostKeyCheck
    ) -> asyncssh.SSHClientConnection:
        try:
            with _translated(to, late=f"did not finish the login within {self._limit_s:.0f} s"):
                async with asyncio.timeout(self._limit_s):
                    return await asyncssh.connect(**_options(to, sock, key, judge))
        except asyncssh.HostKeyNotVerifiable as exc:
            if judge.shown is None:  # revoked, or a certificate
                raise HostKeyChanged(
                    f"{to}: host key rejected: {printable(exc.reason)}; nothing was sent to it",
                    hint=f"ask the site's operator; trusted and revoked keys are in {self._file}",
                ) from exc
            shown = judge.shown.get_fingerprint()
            raise known_hosts.changed(
                self._file, to.host, to.port, site=str(to), pins=judge.pins, shown=shown
            ) from exc


#: Many threads: names must not wait for another name's slow server.
_RESOLVING = ThreadPoolExecutor(max_workers=100, thread_name_prefix="resolve")


async def resolve(to: Endpoint) -> Sequence[Place]:
    """The addresses of a site's name; socket.gaierror if there are none."""
    loop = asyncio.get_running_loop()
    try:
        ask = partial(socket.getaddrinfo, to.host, to.port, type=socket.SOCK_STREAM)
        return await loop.run_in_executor(_RESOLVING, ask)
    except UnicodeError as exc:  # a part of it is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "it is no valid name") from exc


def load_key(to: Endpoint) -> Sequence[asyncssh.SSHKeyPair]:
    """The site's private key, with a certificate beside it if there is one."""
    try:
        return asyncssh.load_keypairs(str(to.key))
    except FileNotFoundError as exc:
        raise TriggerFailed(
            f"{to}: there is no ssh key {to.key}",
            hint=f'make one: ssh-keygen -t ed25519 -N "" -f {to.key}',
        ) from exc
    except OSError as exc:
        raise TriggerFailed(f"{to}: cannot read the ssh key {to.key}: {exc.strerror}") from exc
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as exc:
        raise TriggerFailed(
            f"{to}: cannot use the ssh key {to.key}: {exc}",
            hint="expected a private key without a passphrase",
        ) from exc


async def drop(connection: asyncssh.SSHClientConnection) -> None:
    """Abort a connection; may be called again."""
    connection.abort()
    await connection.wait_closed()


class HostKeyCheck(asyncssh.SSHClient):
    """Accepts a host key that is pinned, or any if none is pinned, and keeps it."""

    def __init__(self, pins: Pins) -> None:
        self.pins = pins
        self.shown: asyncssh.SSHKey | None = None  # once it is known; not for a revoked one or a certificate

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002 - theirs
        """Called for every key that is not revoked, as asyncssh is told of no pinned ones."""
        self.shown = key
        return self.pins.is_new or self.pins.has(key)


def _options(
    to: Endpoint, sock: socket.socket, key: Sequence[asyncssh.SSHKeyPair], judge: HostKeyCheck
) -> dict[str, Any]:
    """asyncssh's options: it uses nothing but these."""
    return {
        "host": to.host,
        "port": to.port,
        "sock": sock,
        "username": to.user,
        "client_keys": key,
        "client_factory": lambda: judge,
        "known_hosts": ((), judge.pins.authorities, judge.pins.revoked),
        "server_host_key_algs": judge.pins.algorithms(),
        "config": None,  # no ~/.ssh/config
        "agent_path": None,
        "preferred_auth": "publickey",
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "gss_host": None,
        "x509_trusted_certs": None,
        "compression_algs": None,
        "keepalive_interval": _KEEPALIVE_S,
        "keepalive_count_max": _KEEPALIVE_TIMES,
        "login_timeout": 0,  # there is one around it all
        "utf8_decode_errors": "replace",
    }


@contextmanager
def _translated(to: Endpoint, *, late: str) -> Iterator[None]:
    """Translate errors of connecting; an untrusted host key is left to the caller."""
    try:
        yield
    except asyncssh.HostKeyNotVerifiable:
        raise
    except socket.gaierror as exc:
        raise TriggerFailed(
            f"{to}: cannot resolve its host name: {exc.strerror}",
            hint="check `host` in the site's file, and DNS on this machine",
        ) from exc
    except ConnectionRefusedError as exc:
        raise TriggerFailed(
            f"{to} refused the connection", hint=f"check that its ssh server listens on port {to.port}"
        ) from exc
    except TimeoutError as exc:
        raise TriggerFailed(
            f"{to} {late}", hint="check that it is up and that its firewall allows this machine"
        ) from exc
    except asyncssh.PermissionDenied as exc:
        raise TriggerFailed(
            f"{to} rejected user {to.user} with key {to.key}",
            hint=not_let_in(to),
        ) from exc
    except asyncssh.ConnectionLost as exc:
        raise TriggerFailed(
            f"{to} closed the connection during the login: {printable(str(exc))}",
            hint=f"check that an ssh server listens on port {to.port}",
        ) from exc
    except OSError as exc:  # no route, no network, reset by the peer
        raise TriggerFailed(
            f"{to} cannot be reached: {exc.strerror or exc}",
            hint="check the network of this machine and the route to the site",
        ) from exc
    except Exception as exc:  # whatever a broken server makes asyncssh raise must not stop a push of others
        raise TriggerFailed(
            f"{to} does not speak ssh as expected: {printable(str(exc))}",
            hint=f"check that an ssh server listens on port {to.port}",
        ) from exc


def not_let_in(to: Endpoint) -> str:
    """The hint for a site that rejects our key."""
    return (
        f"send its operator the line that `pushmirror site kit {to.site}` prints, for the authorized_keys of "
        f"{to.user}; a from= in it must name this machine's address"
    )


def printable(text: str) -> str:
    """A server's text on one line."""
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in words)[:_MAX_SAID]


async def _readable(sock: socket.socket) -> None:
    """Wait until the server has sent its first bytes (RFC 4253, 4.2)."""
    loop, has_come = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, has_come.set)
    try:
        await has_come.wait()
    finally:
        loop.remove_reader(sock)


async def _dialled(
    place: Place,
) -> socket.socket:
    family, kind, protocol, _, address = place
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
