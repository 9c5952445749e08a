"""Sites with a real sshd on the loopback, whose forced command is whatever a test wants to be answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pushmirror.config.model import Push, Site
from pushmirror.lab.services import Sshd, new_key
from pushmirror.push.ssh.client import SshSender

T = TypeVar("T")
FOREVER = "while sleep 0.2; do echo; done"  # until nobody listens any more
_LIMIT_S = 120  # a test that hangs is a failed one


class Sites:
    """One sshd and one key; each way of answering is a site of its own, told apart by its key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.known_hosts = directory / "state" / "known_hosts"
        self.sshd = Sshd(directory / "sshd")
        self.key = directory / "key"
        new_key(self.key)

    def site(self, command: str = "true", *, name: str = "site1", **options: Any) -> Site:
        """A site that answers a trigger by this command line."""
        key = self.directory / f"{name}.key"
        self.sshd.authorize(new_key(key), command=command)
        values = {
            "name": name,
            "host": "127.0.0.1",
            "port": self.sshd.port,
            "user": self.sshd.user,
            "archives": ("debian",),
            "key": key,
        }
        return Site(**{**values, **options})

    def push(self, **options: Any) -> Push:
        """[push], with times fit for a test; a number is one of seconds."""
        times = {"timeout": 60, "connect_timeout": 20, **options}
        return Push(
            key=self.key,
            **{
                name: timedelta(seconds=value) if name.endswith("timeout") else value
                for name, value in times.items()
            },
        )

    @asynccontextmanager
    async def sender(self, **options: Any) -> AsyncIterator[SshSender]:
        """A wire, with options of [push]."""
        sender = SshSender(self.push(**options), self.known_hosts)
        try:
            yield sender
        finally:
            await sender.close()

    def run(self, job: Callable[[SshSender], Awaitable[T]], **options: Any) -> T:
        """Do something with a wire of its own."""

        async def within() -> T:
            async with asyncio.timeout(_LIMIT_S), self.sender(**options) as sender:
                return await job(sender)

        return asyncio.run(within())
