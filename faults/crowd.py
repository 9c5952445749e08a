"""Hundreds of sites, each with an address, a host key and a temper of its own, in one thread of ours.

    hub ──ssh──▶ 127.77.x.y:PORT ──▶ by its temper: no ssh at all, no login, or the end of its command

What they were sent is in `events`, in order, as they saw it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncssh

from pushmirror.errors import Exit

T = TypeVar("T")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the close is a reset
_FLOOD = 300_000  # bytes of one that ends
_CHUNK = b"a line of what it does\n" * 1_000
_LONGEST_S = 600.0
_START_S = 60.0


class Temper(StrEnum):
    """How a site takes it."""

    GOOD = "good"
    SLOW = "slow"
    HELD = "holds suites back"  # exit code 6, which confirms
    CHATTY = "says much"
    FAILS = "fails"
    HANGS = "hangs"
    FLOODS = "floods"
    DIES = "dies"
    SAYS_NOTHING = "ends without a word"  # no exit code
    REFUSES = "refuses connections"
    SILENT = "accepts and says nothing"
    NOISE = "speaks no ssh"
    LOCKED = "lets nobody in"
    CHANGED = "has another host key"


#: That a hub can reach in spite of what they are.
WILLING = (Temper.GOOD, Temper.GOOD, Temper.GOOD, Temper.SLOW, Temper.HELD, Temper.CHATTY)
BAD = tuple(temper for temper in Temper if temper not in WILLING)
_CODES = (1, 3, 4, 75, 78, 127, 255)  # of one that fails


@dataclass(frozen=True, slots=True)
class Event:
    """A site was sent something, or has answered."""

    site: str
    words: str
    code: int | None = None  # none: it begins


@dataclass(slots=True)
class CrowdSite:
    """One site."""

    name: str
    host: str
    temper: Temper
    spells: int  # how many triggers it is so for; then it is good
    random: Random
    keys: list[asyncssh.SSHKey] = field(default_factory=list)  # its host key, and another
    port: int = 0
    is_odd: bool = False  # it was not good in the beginning
    was_heard: bool = False  # it was sent something: its key is pinned

    def heal(self) -> None:
        """It is good from now on, with the host key that it had."""
        self.temper = Temper.GOOD

    def weary(self) -> None:
        """A trigger less until it is good."""
        self.spells -= 1
        if self.spells <= 0 and self.temper in BAD:
            self.temper = Temper.GOOD

    @property
    def key(self) -> asyncssh.SSHKey:
        """The host key that it shows."""
        return self.keys[self.temper is Temper.CHANGED and self.was_heard]


class Crowd:
    """All of them, to the end of the block."""

    def __init__(self, sites: list[CrowdSite], users: list[asyncssh.SSHKey]) -> None:
        """`users` are the keys that they let in."""
        self.sites = sites
        self.events: list[Event] = []
        self.fooled: list[str] = []  # sites that were sent something on a connection with another host key
        self._let_in = {key.get_fingerprint() for key in users}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: list[socket.socket] = []
        self._silent: set[socket.socket] = set()

    def __enter__(self) -> Self:
        logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each write to who has hung up
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def heal(self) -> None:
        """All are good from now on."""
        self._do(self._heal())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)

    async def _listen(self) -> None:
        for site in self.sites:
            listener = socket.create_server((site.host, 0), backlog=20)
            listener.setblocking(False)
            site.port = listener.getsockname()[1]
            self._sockets.append(listener)
            self._begin(self._accept(site, listener))

    async def _heal(self) -> None:
        for site in self.sites:
            site.heal()
        for one in self._silent:
            one.close()
        self._silent.clear()

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in (*self._sockets, *self._silent):
            one.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, site: CrowdSite, listener: socket.socket) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(listener)
            sock.setblocking(False)
            self._begin(self._meet(site, sock))

    async def _meet(self, site: CrowdSite, sock: socket.socket) -> None:
        temper = site.temper
        if temper is Temper.SILENT:
            self._silent.add(sock)
            site.weary()
        elif temper in {Temper.REFUSES, Temper.NOISE}:
            with suppress(OSError):
                if temper is Temper.NOISE:
                    await self._loop.sock_sendall(sock, site.random.randbytes(3_000))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
            site.weary()
        else:
            with suppress(OSError, asyncssh.Error):  # it went away, or did not like our key
                await asyncssh.run_server(
                    sock,
                    server_factory=lambda: _Server(site, self._let_in),
                    server_host_keys=[site.key],
                    process_factory=self._answering(site, is_other=site.key is site.keys[1]),
                    encoding=None,
                    gss_host=None,
                )

    def _answering(
        self, site: CrowdSite, *, is_other: bool
    ) -> Callable[[asyncssh.SSHServerProcess[bytes]], Coroutine[Any, Any, None]]:
        async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
            words = process.command or ""
            self.events.append(Event(site.name, words))
            site.was_heard = True
            if is_other:
                self.fooled.append(site.name)
            temper = site.temper
            site.weary()
            code = await self._code(site, temper, process)
            if code is not None:
                self.events.append(Event(site.name, words, code))
                process.exit(code)

        return answer

    async def _code(
        self, site: CrowdSite, temper: Temper, process: asyncssh.SSHServerProcess[bytes]
    ) -> int | None:
        """The exit code, when its time has come; none: it does not come to that."""
        code: int | None = Exit.OK
        match temper:
            case Temper.HELD:
                code = Exit.HELD
            case Temper.SLOW:
                await asyncio.sleep(1 + site.random.random())
            case Temper.CHATTY:
                await _flood(process, _FLOOD // len(_CHUNK))
            case Temper.FAILS:
                process.stderr.write(b"it does not work\n")
                code = site.random.choice(_CODES)
            case Temper.HANGS:
                await process.wait_closed()
                code = None
            case Temper.FLOODS:
                await _flood(process, None)
                code = None
            case Temper.DIES:
                process.channel.get_connection().abort()
                code = None
            case Temper.SAYS_NOTHING:
                process.close()
                code = None
            case _:
                await asyncio.sleep(site.random.random() * 0.3)
        return code


class _Server(asyncssh.SSHServer):
    def __init__(self, site: CrowdSite, let_in: set[str]) -> None:
        self._site = site
        self._let_in = let_in

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - theirs
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002 - theirs
        if self._site.temper is Temper.LOCKED:
            self._site.weary()
            return False
        return key.get_fingerprint() in self._let_in


async def _flood(process: asyncssh.SSHServerProcess[bytes], chunks: int | None) -> None:
    """Say so much, or without end; until nobody listens."""
    with suppress(OSError, asyncssh.Error):
        for _ in itertools.count() if chunks is None else range(chunks):
            process.stdout.write(_CHUNK)
            await process.stdout.drain()


def drawn(count: int, random: Random) -> list[CrowdSite]:
    """So many sites: each bad temper is there as often, for some triggers or for good."""
    sites = []
    for number in range(count):
        is_bad = random.random() < 0.4
        temper = BAD[number % len(BAD)] if is_bad else random.choice(WILLING)
        spells = random.choice([1, 2, 10_000]) if is_bad and temper is not Temper.CHANGED else 10_000
        keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(2)]
        host = f"127.77.{number // 200}.{number % 200 + 1}"
        sites.append(
            CrowdSite(f"site{number}", host, temper, spells, Random(random.random()), keys, is_odd=is_bad)
        )
    return sites
