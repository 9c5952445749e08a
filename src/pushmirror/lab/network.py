"""The lab's network on the loopback: an owner, hubs and sites, each a real pushmirror with its own sshd.

    owner ──ssh: sync:stage1 ──▶ sshd of hub ──forced command──▶ pushmirror receive ──▶ ssh to its sites …
      ▲                                                               │
      └────────── rsync, with user and password of `site add` ◀───────┘

Guaranteed: all files are below one directory, and at the end of the block no process of the network is left;
runs that were triggered by ssh and pushes in the background, which outlive their parents, are ended, too.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pushmirror.access import kit, site_files
from pushmirror.access.kit import PUSHMIRROR
from pushmirror.config.loader import load
from pushmirror.config.model import Config, PushKind
from pushmirror.config.reload import CurrentConfig
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.processes import descendants, end_all_of
from pushmirror.lab.services import HOST, Service, Sshd, new_key
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.push.engine import PushSnapshot, SilentObserver
from pushmirror.push.pushes import PushCoordinator
from pushmirror.state.records import Generation
from pushmirror.state.store import Store, open_store
from pushmirror.system import process

# One pushmirror of the lab's network: its configuration, tree, state and sshd, and what serves its sites.
#
# `pushmirror serve` runs a hub's rsync daemon and its pushes. A site is added as an operator does it: by
# `site add` at the hub; then the kit's settings are written into the site's files. Only the command line in
# them differs: each pushmirror of this machine has a `--config` of its own.


#: Long limits, for a busy machine is no fault of a mirror; short pauses, for somebody is watching.
_PATIENT = {"deadline": "1h", "connect_timeout": "10min", "retry_after": "2s"}


class Serving(Service):
    """`pushmirror serve` of a mirror, on a free port, which is written into its configuration."""

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
        """Its configuration, as it is now; not before it is set up."""
        return self._current()

    @property
    def store(self) -> Store:
        """Its store, which its own commands write."""
        if self._store is None:
            self._store = open_store(self.config.state.database_url, self.config.state.directory)
        return self._store

    @property
    def served(self) -> Generation | None:
        """What it serves, by its own store."""
        return self.store.latest_generation(ARCHIVE)

    def view(self) -> PushSnapshot:
        """The state of its sites."""
        return PushCoordinator(self._current, self.store, SilentObserver()).view(ARCHIVE)

    def add_site(self, site: Node) -> None:
        """Make another mirror a site of this one, in the files of both."""
        assert site.sshd is not None
        keys = {
            "host": HOST,
            "port": site.sshd.port,
            "user": site.sshd.user,
            "push": site.place.push.value,
            "archives": [ARCHIVE],
        }
        config = load(self.mirror.etc)
        made, login = site_files.add(config, site.name, keys)
        public_key = self.key.with_name(f"{self.key.name}.pub").read_text().strip()
        made_kit = kit.make(config, made, login, public_key=public_key, addresses=config.push.addresses)
        site.follow(made_kit)

    def follow(self, hub_kit: kit.Kit) -> None:
        """Write the settings of the new hub's kit into our files."""
        assert self.sshd is not None and hub_kit.password is not None
        receive = shlex.join(self.mirror.argv("receive"))
        self.sshd.authorize_line(hub_kit.authorized_keys["pushmirror"].replace(PUSHMIRROR, receive))
        self.mirror.set_password(hub_kit.password)
        self.mirror.configure(upstream=hub_kit.modules[0].url)

    def _current(self) -> Config:
        if self._config is None:
            self._config = CurrentConfig(load(self.mirror.etc))
        return self._config()

    def stop(self) -> None:
        """End sshd and `serve`; not the runs and pushes that they started."""
        if self.serving:
            self.serving.stop()
        if self.sshd:
            self.sshd.stop()
        if self._store:
            self._store.close()
            self._store = None


# Who mirrors whom in the lab: values only.
#
# owner ─mhop─▶ hub ─┬─▶ site1
#                    ├─▶ site2
#                    └─mhop─▶ site3 ─┬─▶ site3a
#                                    └─▶ site3b        (the last of a hub's sites is a hub, down to a depth)


OWNER, HUB = "owner", "hub"
_BELOW = "ab"  # the sites of a hub below the hub


@dataclass(frozen=True, slots=True)
class Place:
    """One pushmirror of the network."""

    name: str
    above: str | None  # whom it mirrors, and who pushes it; none: the owner
    push: PushKind  # how it is pushed
    depth: int  # below the owner
    is_hub: bool


def plan(sites: int, push: PushKind, depth: int) -> tuple[Place, ...]:
    """The places of a network, each after the one above it and before that one's next site.

    `depth` is how many hubs there are between the owner and the lowest sites.
    """
    names = [f"site{number}" for number in range(1, sites + 1)]
    return (
        Place(OWNER, None, PushKind.NONE, 0, is_hub=True),
        Place(HUB, OWNER, PushKind.MHOP, 1, is_hub=True),
        *_below(HUB, names, push, 2, hubs=depth - 1),
    )


def _below(above: str, names: list[str], push: PushKind, depth: int, *, hubs: int) -> Iterator[Place]:
    for name in names:
        is_hub = hubs > 0 and name == names[-1]
        yield Place(name, above, PushKind.MHOP if is_hub else push, depth, is_hub=is_hub)
        if is_hub:
            yield from _below(name, [f"{name}{x}" for x in _BELOW], push, depth + 1, hubs=hubs - 1)


_SSH_CONFIG = """\
Host {name}
    HostName {host}
    Port {port}
    User {user}
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}

"""


@dataclass(frozen=True, slots=True)
class Network:
    """The pushmirrors of the lab, while they run."""

    directory: Path
    archive: LabArchive  # the owner's
    nodes: Mapping[str, Node]  # by name, each after the one above it

    @property
    def owner(self) -> Node:
        return self.nodes[OWNER]

    @property
    def mirrors(self) -> list[Node]:
        """All but the owner."""
        return [node for node in self.nodes.values() if node.place.above]

    @property
    def hubs(self) -> list[Node]:
        """Those that have sites."""
        return [node for node in self.nodes.values() if node.place.is_hub]

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: each mirror by its name, with the key of its hub."""
        return self.directory / "ssh_config"

    def above(self, node: Node) -> Node:
        """Whom a mirror fetches from."""
        assert node.place.above is not None
        return self.nodes[node.place.above]

    def below(self, hub: Node) -> list[Node]:
        """The sites of a hub."""
        return [node for node in self.nodes.values() if node.place.above == hub.name]


@contextmanager
def network(directory: Path, archive: LabArchive, places: Sequence[Place]) -> Iterator[Network]:
    """Configure and start all of it: `archive` is the owner's, `directory` must be there."""
    nodes = {place.name: _node(place, directory, archive) for place in places}
    made = Network(directory, archive, nodes)
    try:
        _start(made)
        yield made
    finally:
        _end(made)


def _node(place: Place, directory: Path, archive: LabArchive) -> Node:
    where = directory / place.name
    if place.above is None:
        return Node(place, where, tree=archive.path)
    return Node(place, where, keyring=str(archive.keyring))


def _start(made: Network) -> None:
    """Start all, from the owner down: a hub's port must be known before its sites are configured."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda node: node.sshd and node.sshd.start(), made.mirrors))
    for node in made.nodes.values():
        if node.place.above:
            made.above(node).add_site(node)
        if node.serving:
            node.serving.start()
    made.ssh_config.write_text("".join(_ssh_config(made, node) for node in made.mirrors))


def _ssh_config(made: Network, node: Node) -> str:
    assert node.sshd is not None
    return _SSH_CONFIG.format(
        name=node.name,
        host=HOST,
        port=node.sshd.port,
        user=node.sshd.user,
        key=made.above(node).key,
        known_hosts=node.sshd.known_hosts,
    )


def _end(made: Network) -> None:
    sessions = [
        pid for node in made.mirrors if node.sshd and node.sshd.pid for pid in descendants(node.sshd.pid)
    ]
    for node in made.nodes.values():
        node.stop()
    end_all_of(made.directory, also=sessions)
