"""Files that upstream's indices name, and that upstream lacks or has with another content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from field.builder import Upstream
from field.case import HELD, OK, Build, Case, Odd, Step, odd, ordinary
from field.indices import IMAGES, images, with_sources
from pushmirror.config.model import Strategy

ALL = list(Strategy)[1:]
_ONE_TIME = 1_700_000_000  # of what is wrong: it does not change from state to state
_A_WHILE = timedelta(minutes=11)  # longer than a fault has to last


def old(n: int) -> str:
    """The package that is the same in all states."""
    return "pool/main/o/odd-old/odd-old_1.0_amd64.deb"


def new(n: int) -> str:
    """The package that changes with each."""
    return f"pool/main/o/odd/odd_1.{n}_amd64.deb"


def image(n: int) -> str:
    """One that is another in each state, by the same name; its list tells no sizes."""
    return f"dists/odd/{IMAGES}/netboot/linux"


def without(*paths: Callable[[int], str], build: Build = ordinary) -> Build:
    """Files are lost."""

    def faulty(up: Upstream, n: int) -> None:
        build(up, n)
        for path in paths:
            up.remove(path(n))

    return faulty


def wrong(path: Callable[[int], str], change: Callable[[bytes], bytes], build: Build = ordinary) -> Build:
    """A file has another content."""

    def faulty(up: Upstream, n: int) -> None:
        build(up, n)
        up.put(path(n), change(up.read(path(n))), mtime=_ONE_TIME)

    return faulty


def _sized(up: Upstream, n: int) -> str:
    """Packages that says a wrong size of a file, and its right hash."""
    return up.package("odd", f"1.{n}").replace("Size: 400", "Size: 399")


def first(name: str, fault: Build, *, repaired: Build = ordinary, **keys: object) -> Case:
    """At the first sync of a suite nothing better is here: published at once."""
    steps = Step(fault, apt=True, again=OK), Step(repaired, apt=True)
    return Case(f"first_sync_{name}", steps, packages=(), **keys)


def update(name: str, fault: Build, *, before: Build = ordinary, **keys: object) -> Case:
    """As an update it is held for ten minutes, then published; when it is repaired, it is fetched."""
    steps = (
        Step(before),
        Step(fault, (HELD,), Odd.HELD, apt=True, again=HELD),
        Step(lambda up, n: None, later=_A_WHILE, apt=True, again=OK),
        Step(before, apt=True),
    )
    return Case(f"update_{name}", steps, packages=(), **keys)


def for_ever(name: str, fault: Build) -> Case:
    """What is served lacks the file already: an update that lacks the same has nothing to wait for."""
    steps = Step(fault, again=OK), Step(fault, apt=True, again=OK), Step(fault, apt=True)
    return Case(f"for_ever_{name}", steps, packages=("odd",))


def strict(name: str, fault: Build, **keys: object) -> Case:
    """Who wants the strict rule has it."""
    steps = (
        Step(fault, (HELD,), Odd.ABSENT),
        Step(ordinary, apt=True),
        Step(fault, (HELD,), Odd.HELD, apt=True),
        Step(lambda up, n: None, (HELD,), Odd.HELD, later=_A_WHILE),
        Step(ordinary, apt=True),
    )
    return Case(f"strict_{name}", steps, options={"incomplete": "hold"}, packages=(), **keys)


def _old_is_here(upstream: Path, mirror: Path) -> Iterable[str]:
    """It is what the index names, and stays."""
    return [] if (mirror / old(0)).exists() else [f"{old(0)} is gone"]


CASES = [
    first("package_lost", without(new), strategies=ALL),
    first("package_that_stays_lost", without(old)),
    first("all_packages_lost", without(old, new)),
    first("package_cut_off", wrong(new, lambda data: data[:100])),
    first("package_of_another_content", wrong(new, lambda data: data[::-1])),
    first("package_of_no_bytes", wrong(new, lambda data: b"")),
    first("package_size_in_the_index_wrong", odd(_sized)),
    first(
        "source_lost",
        without(lambda n: f"pool/main/o/odd/odd_1.{n}.dsc", build=with_sources()),
        repaired=with_sources(),
    ),
    first("image_lost", images(lose="netboot/linux"), repaired=images()),
    update("package_lost", without(new), strategies=ALL),
    Case(
        "package_that_is_here_lost",
        (Step(ordinary), Step(without(old), apt=True, again=OK, check=_old_is_here), Step(ordinary)),
    ),
    update("package_cut_off", wrong(new, lambda data: data[:100])),
    update("package_of_another_content", wrong(new, lambda data: data[::-1])),
    update("package_size_in_the_index_wrong", odd(_sized)),
    update(
        "source_lost",
        without(lambda n: f"pool/main/o/odd/odd_1.{n}.tar.xz", build=with_sources()),
        before=with_sources(),
    ),
    update("image_cut_off", wrong(image, lambda data: data[:2], images()), before=images(), strategies=ALL),
    update(
        "image_of_another_content",
        wrong(image, lambda data: data[::-1], images()),
        before=images(),
        strategies=ALL,
    ),
    Case(
        "update_image_lost",
        (
            Step(images()),
            Step(images(lose="netboot/linux"), (HELD,), Odd.HELD, apt=True, again=HELD),
            Step(lambda up, n: None, later=_A_WHILE, loose=(image(0),), again=OK),
            Step(images(), apt=True),
        ),
        packages=(),
        strategies=ALL,
    ),
    for_ever("package_lost", without(old)),
    for_ever("package_cut_off", wrong(old, lambda data: data[:100])),
    strict("package_lost", without(new)),
    strict("package_of_another_content", wrong(new, lambda data: data[::-1])),
]
