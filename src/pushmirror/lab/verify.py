"""Whether a mirror is the same as its owner's tree: compared, hashed, and checked by gpgv.

Guaranteed: nothing that pushmirror reports is taken as true. Only `level` and `state` are its own reports, to
be compared with what was found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pushmirror.archive.trace import archive_serial
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import OWN, broken, same_tree
from pushmirror.lab.network import Network, Node
from pushmirror.lab.site import ARCHIVE
from pushmirror.status.archives import summarise
from pushmirror.status.sites import summarise_sites
from pushmirror.status.words import Level
from pushmirror.system import clock, process
from pushmirror.tree.published_state import read_published

SHORT = 12  # digits of a generation that people compare
_SHOWN = 3  # problems of one kind
_GPGV_S = 600.0
_GENERATIONS = 20  # looked at


@dataclass(frozen=True, slots=True)
class Standing:
    """One machine at the end."""

    name: str
    depth: int  # below the owner
    push: str  # how it is pushed
    generation: str  # the first digits, from its Release files
    archive_serial: str
    files: int
    signatures: int  # good ones
    level: str  # of its archive, by its own status
    state: str  # by its hub's status
    current_s: float | None  # from the last change until it served it; none: it does not, or it is the owner


@dataclass(frozen=True, slots=True)
class Finding:
    """A mirror, and what is wrong with it."""

    standing: Standing
    differences: tuple[str, ...]  # from the owner's tree
    broken: tuple[str, ...]  # files that its indices name, and that are missing or wrong
    unsigned: tuple[str, ...]  # signatures that gpgv refuses
    signed: int  # signatures that were checked
    trouble: tuple[str, ...]  # what the status of the mirror and of its hub reports

    @property
    def problems(self) -> list[str]:
        """All of it, a few sentences of each kind."""
        kinds = {
            "differs from the owner's tree": self.differences,
            "is broken": self.broken,
            "gpgv": self.unsigned,
            "status": self.trouble,
        }
        return [
            f"{self.standing.name}: {what}: {one}"
            for what, found in kinds.items()
            for one in [*found[:_SHOWN], *([f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])]
        ]


def owner_now(made: Network) -> Standing:
    """The owner, whose tree the mirrors are compared with."""
    tree, serial = made.archive.path, str(made.archive.serial)
    signed = sum(not why for why in _gpgv(tree, made.archive))
    level = _level(made.owner)[0]
    return Standing(
        made.owner.name, 0, "", generation_of(tree), serial, len(files_of(tree)), signed, level, "", None
    )


def verify(made: Network, node: Node, current_s: float | None) -> Finding:
    """Check everything that a mirror serves."""
    refused = list(_gpgv(node.tree, made.archive))
    unsigned = [why for why in refused if why]
    trace = node.tree / "project" / "trace" / node.name
    level, attention = _level(node)
    state, activity = _state(made.above(node), node)
    trouble = [
        *attention,
        *([f"{made.above(node).name} reports: {state}: {activity}"] if state != "live" else []),
    ]
    return Finding(
        Standing(
            node.name,
            node.place.depth,
            node.place.push.value,
            generation_of(node.tree),
            (archive_serial(trace.read_text()) if trace.exists() else None) or "",
            len(files_of(node.tree)),
            len(refused) - len(unsigned),
            level,
            state,
            current_s,
        ),
        differences=tuple(same_tree(made.archive.path, node.tree)),
        broken=tuple(broken(node.tree, thorough=True)),
        unsigned=tuple(unsigned),
        signed=len(refused),
        trouble=tuple(trouble if level == Level.OK or trouble else [f"its level is {level}"]),
    )


def generation_of(tree: Path) -> str:
    """The first digits of the generation that a tree serves; empty if there is none."""
    return read_published(tree).generation[:SHORT]


def files_of(tree: Path) -> list[Path]:
    """All files and links, without those that each mirror has of its own."""
    found = (Path(directory, name) for directory, _, names in os.walk(tree) for name in names)
    return [path for path in found if not OWN.fullmatch(str(path.relative_to(tree)))]


def _gpgv(tree: Path, archive: LabArchive) -> Iterator[str]:
    """For each signed file its error, empty where the signature is good."""
    for suite in archive.suites:
        directory = tree / "dists" / suite.name
        for files in (["InRelease"], ["Release.gpg", "Release"]):
            argv = ["gpgv", "--keyring", str(archive.keyring), *(str(directory / name) for name in files)]
            result = process.run(argv, timeout_s=_GPGV_S)
            yield "" if result.exit_code == 0 else f"dists/{suite.name}/{files[0]}: {result.last_words()}"


def _level(node: Node) -> tuple[str, tuple[str, ...]]:
    served = node.served
    (health,) = summarise(
        [ARCHIVE],
        node.store.runs(ARCHIVE),
        [served] if served else [],
        node.store.pending(ARCHIVE),
        clock.now(),
    )
    return health.level.value, health.attention


def _state(hub: Node, site: Node) -> tuple[str, str]:
    """The state of a site in its hub's status."""
    view = hub.view()
    for one in summarise_sites(
        ARCHIVE,
        view.sites,
        site_states=view.site_states,
        generations=hub.store.generations(ARCHIVE, _GENERATIONS),
        phases=view.decision.phases,
        push=hub.config.push,
        now=clock.now(),
    ):
        if one.site == site.name:
            return one.state.value, one.activity
    return "unknown", "it is not one of its sites"
