"""Who mirrors whom in the lab: values, nothing runs.

owner ─mhop─▶ hub ─┬─▶ site1
                   ├─▶ site2
                   └─mhop─▶ site3 ─┬─▶ site3a
                                   └─▶ site3b        (the last of a hub's sites is a hub, down to a depth)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pushmirror.config.model import PushKind

OWNER, HUB = "owner", "hub"
_BELOW = "ab"  # the sites of a hub below the hub


@dataclass(frozen=True, slots=True)
class Place:
    """One pushmirror of the network."""

    name: str
    above: str | None  # whom it mirrors, and who pushes it; none: the archive is made here
    push: PushKind  # how it is woken
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
