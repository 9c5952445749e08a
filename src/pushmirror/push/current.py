"""A wire that follows the configuration: a change of [push] holds from the next trigger on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from pushmirror.config.model import Config, Push, Site
from pushmirror.push.ssh import SshWire
from pushmirror.push.wire import Answer


class CurrentWire:
    """A `Wire` for each state of [push] that was used; what is under way goes on by the one it began with."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._wires: dict[tuple[Push, Path], SshWire] = {}

    async def trigger(self, site: Site, words: str) -> Answer:
        """See `Wire.trigger`."""
        config = self._config()
        key = config.push, config.known_hosts
        if key not in self._wires:
            self._wires[key] = SshWire(*key)
        return await self._wires[key].trigger(site, words)

    async def release(self, site: Site) -> None:
        """See `Wire.release`."""
        for wire in [*self._wires.values()]:
            await wire.release(site)

    async def close(self) -> None:
        """See `Wire.close`."""
        await asyncio.gather(*(wire.close() for wire in self._wires.values()))
