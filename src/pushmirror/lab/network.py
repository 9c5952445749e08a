"""The lab's network on the loopback: an owner, hubs and sites, each a real pushmirror with its own sshd.

    owner ──ssh: sync:stage1 ──▶ sshd of hub ──forced command──▶ pushmirror receive ──▶ ssh to its sites …
      ▲                                                               │
      └────────── rsync, with user and password of `site add` ◀───────┘

Guaranteed: everything is below one directory, and at the end of the block nothing of it runs any more, also
what outlives whoever started it: runs that were woken by ssh, and pushes in the background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.node import Node
from pushmirror.lab.processes import descendants, end_all_of
from pushmirror.lab.service import HOST
from pushmirror.lab.topology import OWNER, Place

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
    """Down from the owner: a hub serves before its sites are told where."""
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
