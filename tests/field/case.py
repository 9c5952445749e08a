"""What a case is: an archive in some states, one after the other, and what a mirror makes of each.

Each archive has two suites. `good` is ordinary and is current after every run, whatever else there is; `odd`
is what the case is about. A case is data; `scene` builds its upstream, `mirror` carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from field.builder import PACKAGES, Upstream, gz
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit

Build = Callable[[Upstream, int], object]  # writes state n of `odd`, and whatever else is odd
Packages = Callable[[Upstream, int], str | bytes]  # writes its packages; the content of Packages
Check = Callable[[Path, Path], Iterable[str]]  # upstream, mirror -> what is wrong
ODD = ("dists/odd", "zzz-dists/odd")
OK, HELD = int(Exit.OK), int(Exit.HELD)
NOTHING = (int(Exit.STAGE1), int(Exit.STAGE2))


class Odd(Enum):
    """What is served of `odd` after a step."""

    CURRENT = "current"
    HELD = "held"  # what was served before
    ABSENT = "absent"


@dataclass(frozen=True)
class Step:
    """A state of upstream, and what a sync makes of it."""

    build: Build
    exits: tuple[int, ...] = (OK,)
    odd: Odd = Odd.CURRENT
    good: bool = True  # whether `good` is current; otherwise nothing could be published
    apt: bool | None = None  # whether apt takes `odd` from upstream; None: nobody asks
    unserved: tuple[str, ...] = ()  # patterns of upstream's files that are not served as they are there
    loose: tuple[str, ...] = ()  # patterns of names whose kind and content here are not looked at
    check: Check | None = None  # what else is to be so
    again: int | None = None  # exit code of another sync; None: there is none
    later: timedelta = timedelta()  # before the sync, so much time goes by since faults were seen
    says: str = ""  # words that the output has


@dataclass(frozen=True)
class Case:
    """One oddity."""

    name: str
    steps: tuple[Step, ...]
    options: Mapping[str, Any] = field(default_factory=dict)  # keys of [archives.debian]
    module: Mapping[str, str] = field(default_factory=dict)  # lines of rsyncd.conf for the module
    greeting: bytes = b""  # the daemon's message of the day
    mine: tuple[str, ...] = ODD  # what belongs to `odd`
    root: str = ""  # where apt finds `odd`, below the tree
    line: str = "odd main"  # in sources.list, after the address
    packages: tuple[str, ...] = ("odd",)  # what apt is to download
    unlisted: tuple[str, ...] = ()  # patterns of what no index lists: `index` leaves it to the next full run
    keyring: Callable[[Path], Path | None] | None = None  # makes another keyring; returns None for none
    strategies: tuple[Strategy, ...] = (Strategy.FULL, Strategy.INDEX)
    prepare: Callable[[Path], AbstractContextManager[object]] | None = None  # of the mirror's tree
    alone: bool = False  # it is more than a suite and its pool

    @property
    def is_sociable(self) -> bool:
        """Whether it can be in one archive with others of the same options."""
        usual = Case(
            self.name,
            self.steps,
            options=self.options,
            packages=self.packages,
            unlisted=self.unlisted,
            strategies=self.strategies,
        )
        return self == usual


def two(up: Upstream, n: int) -> str:
    """The packages of `odd`: one that is new in each state, one that stays."""
    return up.package("odd", f"1.{n}") + "\n" + up.package("odd-old", "1.0") + "\n"


def odd(
    packages: Packages = two,
    *,
    directory: str = "dists/odd",
    more: Mapping[str, bytes] | None = None,
    after: Callable[[Upstream, int], object] = lambda up, n: None,
    **suite: Any,
) -> Build:
    """A suite `odd` of these packages; `suite` is for Upstream.suite, `after` comes last."""

    def build(up: Upstream, n: int) -> None:
        clear(up)
        text = packages(up, n)
        data = text.encode() if isinstance(text, str) else text
        indices = {PACKAGES: data, f"{PACKAGES}.gz": gz(data), **(more or {})}
        up.suite(directory, indices, **suite)
        after(up, n)

    return build


def clear(up: Upstream) -> None:
    """Take `odd` away, with the packages that change."""
    for name in (*ODD, "pool/main/o/odd"):
        up.remove(name)


ordinary = odd()


def taken(name: str, build: Build = ordinary, *, apt: bool | None = True, **keys: Any) -> Case:
    """Apt takes it, or it harms nobody: mirrored as it is, at first and as an update."""
    about, case = _split(keys)
    return Case(name, (Step(build, **about), Step(build, apt=apt, again=OK, **about)), **case)


def held(name: str, fault: Build, *, apt: bool = False, repaired: Build = ordinary, **keys: Any) -> Case:
    """Absent where it was never published, else held at what was published before, until it is repaired."""
    about, case = _split(keys)
    steps = (
        Step(fault, (HELD,), Odd.ABSENT, **about),
        Step(repaired),
        Step(fault, (HELD,), Odd.HELD, apt=apt, again=HELD, **about),
        Step(repaired),
    )
    return Case(name, steps, **case)


def turned(name: str, *builds: Build, **keys: Any) -> Case:
    """The archive changes its shape, each time as an update that apt takes."""
    about, case = _split(keys)
    steps = [Step(build, apt=True, **about) for build in builds[:-1]]
    return Case(name, (*steps, Step(builds[-1], apt=True, again=OK, **about)), **case)


_OF_A_STEP = frozenset({"unserved", "loose", "check", "says", "later"})


def _split(keys: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {k: v for k, v in keys.items() if k in _OF_A_STEP}, {
        k: v for k, v in keys.items() if k not in _OF_A_STEP
    }
