"""Names change what they are: a suite becomes a link, a link a suite, a directory a file; suites come, go."""

from __future__ import annotations

from collections.abc import Callable

from field.builder import PACKAGES, Upstream, gz
from field.case import ODD, Build, clear, odd, ordinary, turned, two
from pushmirror.config.model import Strategy

ALL = list(Strategy)[1:]
BY_HASH = {"by_hash": ["SHA256"]}
plain = odd(**BY_HASH)
MINE = (*ODD, "dists/trixie", "dists/stable", "dists/testing")


def suite(name: str, up: Upstream, n: int, *, packages: str = "odd", dak: bool = False) -> None:
    """A suite that has the packages of `odd`, or packages of its own."""
    up.remove(f"dists/{name}")
    up.remove(f"pool/main/{packages[0]}/{packages}")
    data = two(up, n) if packages == "odd" else up.package(packages, f"1.{n}") + "\n"
    indices = {PACKAGES: data.encode(), f"{PACKAGES}.gz": gz(data.encode())}
    up.suite(f"dists/{name}", indices, by_hash=["SHA256"], fields={"Suite": "odd"}, dak=dak)


def moved(up: Upstream, n: int) -> None:
    """Another suite has the content, and `odd` is a link to it."""
    clear(up)
    suite("trixie", up, n)
    up.link("dists/odd", "trixie")


def renamed(up: Upstream, n: int) -> None:
    """The directory itself was renamed, and nothing in it has changed."""
    up.remove("dists/trixie")
    up.move("dists/odd", "dists/trixie")
    up.link("dists/odd", "trixie")


def with_images(current: Callable[[Upstream], object]) -> Build:
    def build(up: Upstream, n: int) -> None:
        clear(up)
        data = two(up, n).encode()
        up.suite("dists/odd", {PACKAGES: data, f"{PACKAGES}.gz": gz(data)}, by_hash=["SHA256"])
        current(up)

    return build


def image(directory: str) -> Callable[[Upstream], object]:
    return lambda up: up.put(f"dists/odd/main/installer-amd64/{directory}/images/mini.iso", directory)


def link_of_image(to: str) -> Callable[[Upstream], object]:
    return lambda up: (image(to)(up), up.link("dists/odd/main/installer-amd64/current", to))


def rest(change: Callable[[Upstream], object]) -> Build:
    """An ordinary update, and a change elsewhere."""

    def build(up: Upstream, n: int) -> None:
        plain(up, n)
        change(up)

    return build


def inside_linked(up: Upstream, n: int) -> None:
    plain(up, n)
    up.move("dists/odd/main", "dists/odd/all")
    up.link("dists/odd/main", "all")


def _dists_is_a_link(up: Upstream, n: int) -> None:
    plain(up, n)
    up.move("dists", "dists.17")
    up.link("dists", "dists.17")


def _dists_is_a_directory(up: Upstream, n: int) -> None:
    up.remove("dists")
    up.move("dists.17", "dists") if (up.tree / "dists.17").exists() else None
    plain(up, n)


def _pool_is_a_link(up: Upstream, n: int) -> None:
    plain(up, n)
    up.move("pool", "pool.17")
    up.link("pool", "pool.17")


def debian(testing: str, stable: str, old: str, *gone: str) -> Build:
    """Debian in one of the days around a release, in the layout of dak; apt reads stable as `odd`."""

    def build(up: Upstream, n: int) -> None:
        for name in gone:
            for place in (f"dists/{name}", f"zzz-dists/{name}", f"pool/main/{name[0]}/{name}"):
                up.remove(place)
        for name in (testing, stable, old):
            suite(name, up, n, packages=name, dak=True)
            suite(f"{name}-updates", up, n, packages=f"{name}-updates", dak=True)
        for link, target in (("testing", testing), ("odd", stable), ("stable", stable), ("oldstable", old)):
            up.link(f"dists/{link}", target)
            up.link(f"dists/{link}-updates", f"{target}-updates")
        up.link(f"dists/Debian{12 + n}.0", stable)

    return build


def _proposed(as_link: bool) -> Build:
    """trixie-proposed-updates is a directory, or a link to the suite that has its content."""

    def build(up: Upstream, n: int) -> None:
        plain(up, n)
        suite("proposed-updates", up, n, packages="proposed")
        if as_link:
            up.link("dists/trixie-proposed-updates", "proposed-updates")
        else:
            suite("trixie-proposed-updates", up, n, packages="tpu")

    return build


CASES = [
    turned("suite_becomes_a_link", plain, moved, plain, mine=MINE, strategies=ALL),
    turned("suite_becomes_a_link_without_by_hash", ordinary, moved, ordinary, mine=MINE),
    turned("suite_is_renamed_with_a_link_to_it", plain, renamed, mine=MINE),
    turned(
        "link_turns",
        moved,
        lambda up, n: (suite("testing", up, n), up.link("dists/odd", "testing")),
        mine=MINE,
    ),
    turned("dak_suite_becomes_a_link", odd(dak=True, **BY_HASH), moved, mine=MINE),
    turned("directory_and_link_and_back", _proposed(False), _proposed(True), _proposed(False)),
    turned(
        "images_directory_becomes_a_link",
        with_images(image("current")),
        with_images(link_of_image("2026")),
        unlisted=("*/installer-amd64*",),
    ),
    turned(
        "images_link_becomes_a_directory",
        with_images(link_of_image("2026")),
        with_images(image("current")),
        unlisted=("*/installer-amd64*",),
    ),
    turned(
        "images_link_turns",
        with_images(link_of_image("2026")),
        with_images(link_of_image("2027")),
        unlisted=("*/installer-amd64*",),
    ),
    turned(
        "index_directory_becomes_a_link",
        plain,
        inside_linked,
        plain,
        unlisted=("dists/odd/main", "dists/odd/all*"),
    ),
    turned("dists_becomes_a_link", plain, _dists_is_a_link, mine=("dists", "dists.17")),
    turned("dists_becomes_a_directory", _dists_is_a_link, _dists_is_a_directory, mine=("dists", "dists.17")),
    turned("pool_becomes_a_link", plain, _pool_is_a_link, unlisted=("pool*",)),
    turned(
        "pool_directory_becomes_a_link",
        plain,
        rest(lambda up: (up.move("pool/main/o", "pool/main/o2"), up.link("pool/main/o", "o2"))),
        unlisted=("pool/main/o*",),
    ),
    turned(
        "document_directory_becomes_a_link",
        rest(lambda up: up.put("doc/old/x", b"1")),
        rest(lambda up: (up.put("doc/new/x", b"2"), up.link("doc/old", "new"))),
    ),
    turned(
        "file_becomes_a_directory",
        rest(lambda up: up.put("pool/main/z/z", b"1")),
        rest(lambda up: (up.remove("pool/main/z/z"), up.put("pool/main/z/z/y", b"2"))),
        unlisted=("pool/main/z*",),
    ),
    turned(
        "directory_becomes_a_file",
        rest(lambda up: up.put("pool/main/z/z/y", b"2")),
        rest(lambda up: up.put("pool/main/z/z", b"1")),
        unlisted=("pool/main/z*",),
    ),
    turned(
        "file_becomes_a_link",
        rest(lambda up: up.put("doc/x", b"1")),
        rest(lambda up: (up.put("doc/y", b"1"), up.link("doc/x", "y"))),
    ),
    turned(
        "link_becomes_a_file", rest(lambda up: up.link("doc/x", "y")), rest(lambda up: up.put("doc/x", b"1"))
    ),
    turned("suite_is_added", plain, rest(lambda up: suite("new", up, 1, packages="new"))),
    turned(
        "suite_is_dropped",
        rest(lambda up: suite("old", up, 1, packages="old")),
        rest(lambda up: up.remove("dists/old")),
    ),
    turned(
        "a_release",
        debian("trixie", "bookworm", "bullseye"),
        debian("forky", "trixie", "bookworm"),
        debian("forky", "trixie", "bookworm", "bullseye", "bullseye-updates"),
        mine=("dists", "zzz-dists"),
        packages=(),
        strategies=ALL,
    ),
]
