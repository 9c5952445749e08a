"""One pushmirror of the lab's network: its configuration, tree, state and sshd, and what serves its sites.

A hub's rsync daemon and its pushes are `pushmirror serve`'s. It becomes somebody's site as an operator
makes it one: `site add` at the hub, and what the kit then says goes into the site's files. Only the path of
the program is the site's own: several pushmirrors on one machine are told apart by `--config`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from pushmirror.access import kit, roster
from pushmirror.access.authorized_keys import PUSHMIRROR
from pushmirror.config.current import CurrentConfig
from pushmirror.config.model import Config
from pushmirror.config.toml import load
from pushmirror.lab.processes import descendants
from pushmirror.lab.service import HOST, Service
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.lab.sshd import Sshd, new_key
from pushmirror.lab.topology import Place
from pushmirror.push.pushes import Pushes
from pushmirror.push.watch import Unwatched, View
from pushmirror.state.records import Generation
from pushmirror.state.store import Store, open_store
from pushmirror.system import process

#: A machine may be busy, which is no trouble of a mirror; but nobody wants to look at a lab that rests.
_PATIENT = {"deadline": "1h", "connect_timeout": "10min", "retry_after": "2s"}


class Serving(Service):
    """`pushmirror serve` of a mirror, on a port that its configuration is told."""

    greeting = b"@RSYNCD:"

    def __init__(self, mirror: LabSite) -> None:
        super().__init__(mirror.directory)
        self.log = mirror.directory / "serve.log"
        self._mirror = mirror

    def _argv(self) -> list[str]:
        self._mirror.configure_section("serve", host=HOST, rsync=f"{HOST}:{self.port}")
        return self._mirror.argv("serve")

    def _family(self, child: process.Background) -> Iterable[int]:
        return descendants(child.pid)  # it is rsync that listens


class Node:
    """A mirror in its place; nothing of it runs before it is started."""

    def __init__(self, place: Place, directory: Path, **options: object) -> None:
        """`options` are those of LabSite."""
        self.place = place
        self.directory = directory
        self.key = directory / "push_key"  # of a hub, for its sites
        sections = {"push": {"key": str(self.key), "addresses": [HOST], **_PATIENT}}
        self.mirror = LabSite(directory, name=place.name, sections=sections, **options)  # type: ignore[arg-type]
        self.sshd = Sshd(directory / "sshd") if place.above else None
        self.serving = Serving(self.mirror) if place.is_hub else None
        if place.is_hub:
            new_key(self.key)
        self._config: CurrentConfig | None = None
        self._store: Store | None = None

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def tree(self) -> Path:
        """What it serves."""
        return self.mirror.tree

    @property
    def config(self) -> Config:
        """Its configuration, as it is now; to be asked for when all is set up."""
        return self._current()

    @property
    def store(self) -> Store:
        """Its memory, which its own commands write."""
        if self._store is None:
            self._store = open_store(self.config.state.database_url, self.config.state.directory)
        return self._store

    @property
    def served(self) -> Generation | None:
        """What it says that it serves."""
        return self.store.latest_generation(ARCHIVE)

    def view(self) -> View:
        """Where its sites are."""
        return Pushes(self._current, self.store, Unwatched()).view(ARCHIVE)

    def add_site(self, site: Node) -> None:
        """Make another one our site, at both ends."""
        assert site.sshd is not None
        keys = {
            "host": HOST,
            "port": site.sshd.port,
            "user": site.sshd.user,
            "push": site.place.push.value,
            "archives": [ARCHIVE],
        }
        config = load(self.mirror.etc)
        made, login = roster.add(config, site.name, keys)
        public_key = self.key.with_name(f"{self.key.name}.pub").read_text().strip()
        told = kit.make(config, made, login, public_key=public_key, addresses=config.push.addresses)
        site.follow(told)

    def follow(self, told: kit.Kit) -> None:
        """Do what our new hub's kit says."""
        assert self.sshd is not None and told.password is not None
        receive = shlex.join(self.mirror.argv("receive"))
        self.sshd.authorize_line(told.authorized_keys["pushmirror"].replace(PUSHMIRROR, receive))
        self.mirror.set_password(told.password)
        self.mirror.configure(upstream=told.modules[0].url)

    def _current(self) -> Config:
        if self._config is None:
            self._config = CurrentConfig(load(self.mirror.etc))
        return self._config()

    def stop(self) -> None:
        """End what was started here. Runs and pushes that were woken are not ours to end."""
        if self.serving:
            self.serving.stop()
        if self.sshd:
            self.sshd.stop()
        if self._store:
            self._store.close()
            self._store = None
