"""Where suites are, and what leads to them: the layouts of dak, aptly, vendors and flat repositories."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from field.builder import PACKAGES, Upstream, gz
from field.case import Build, Case, held, odd, ordinary, taken, turned, two
from pushmirror.config.model import Strategy

ALL = list(Strategy)[1:]
DAK = {"by_hash": ["MD5Sum", "SHA256"], "sections": ["MD5Sum", "SHA256"], "dak": True}
dak = odd(**DAK)


def dak_without(change: Callable[[Upstream, int], object]) -> Build:
    """Debian's layout, in which something is wrong."""

    def build(up: Upstream, n: int) -> None:
        dak(up, n)
        change(up, n)

    return build


def in_a_directory(up: Upstream, n: int) -> str:
    """The packages of an archive that is not at the top."""
    up.remove("sub/debian/pool")
    name = f"pool/odd_1.{n}_amd64.deb"
    return up.package("odd", f"1.{n}", path=f"sub/debian/{name}", filename=name)


def at(
    directory: str,
    *links: tuple[str, str],
    mine: Iterable[str] = (),
    packages: Callable[[Upstream, int], str] = two,
    **keys: object,
) -> Callable[..., Case]:
    """A case of a suite in a directory of its own, with links to it."""

    def made(kind: Callable[..., Case], name: str, fault: Build | None = None, **more: object) -> Case:
        def build(up: Upstream, n: int) -> None:
            up.remove("pool/main/o/odd")
            up.remove(directory)
            data = packages(up, n).encode()
            up.suite(
                directory,
                {PACKAGES: data, f"{PACKAGES}.gz": gz(data)},
                fields={"Codename": "odd", "Suite": "odd"},
            )
            for link, target in links:
                up.link(link, target)

        def wrong(up: Upstream, n: int) -> None:
            build(up, n)
            assert fault
            fault(up, n)

        names = (directory, *(link for link, _ in links), *mine)
        if kind is held:
            return held(name, wrong, repaired=build, mine=names, **keys, **more)
        return taken(name, build, mine=names, **keys, **more)

    return made


def unsigned(directory: str) -> Build:
    """The Release files of a directory are signed by nobody."""

    def fault(up: Upstream, n: int) -> None:
        up.release(directory, up.read(f"{directory}/Release"), files=["Release"])

    return fault


def lost(up: Upstream, n: int) -> None:
    up.remove(f"pool/main/o/odd/odd_1.{n}_amd64.deb")


three = at("dists/xenial/vendor-org/4.0", line="xenial/vendor-org/4.0 main")
updates = at("dists/odd/updates", mine=["dists/odd"], line="odd/updates main")
called_pool = at("dists/pool-testing", line="pool-testing main")
called_source = at("dists/source", line="source main")
linked = at("snap/17/odd", ("dists/odd", "../snap/17/odd"))
chain = at("dists/trixie", ("dists/stable", "trixie"), ("dists/odd", "stable"))
sub = at("sub/debian/dists/odd", root="sub/debian", mine=["sub/debian/pool"], packages=in_a_directory)


def flat(directory: str) -> Build:
    """A repository without components, whose names are relative to it."""

    def build(up: Upstream, n: int) -> None:
        prefix = f"{directory}/" if directory else ""
        for old in list(up.tree.glob(f"{prefix}odd_*.deb")):
            old.unlink()
        name = f"odd_1.{n}_amd64.deb"
        data = up.package("odd", f"1.{n}", path=prefix + name, filename=f"./{name}").encode()
        up.suite(
            directory or ".",
            {"Packages": data, "Packages.gz": gz(data)},
            fields={"Components": None, "Codename": None, "Suite": None},
        )

    return build


def flat_wrong(directory: str) -> Build:
    def build(up: Upstream, n: int) -> None:
        flat(directory)(up, n)
        unsigned(directory or ".")(up, n)

    return build


FLAT_TOP = {
    "mine": (
        "InRelease",
        "Release",
        "Release.gpg",
        "Packages",
        "Packages.gz",
        "odd_1.1_amd64.deb",
        "odd_1.2_amd64.deb",
        "odd_1.3_amd64.deb",
        "odd_1.4_amd64.deb",
    ),
    "line": "./",
}
FLAT_SUB = {"mine": ("binary",), "root": "binary", "line": "./"}


def in_another_pool(directory: str) -> Build:
    """Packages outside of pool/."""
    return odd(lambda up, n: up.package("odd", f"1.{n}", path=f"{directory}/odd_1.{n}_amd64.deb"))


def absolute_by_hash(target: Callable[[Upstream, str], str]) -> Build:
    """As aptly publishes by symlinks: by-hash entries that are absolute links of the publisher's machine."""

    def build(up: Upstream, n: int) -> None:
        odd(by_hash=["SHA256"])(up, n)
        directory = "dists/odd/main/binary-amd64"
        for name in ("Packages", "Packages.gz"):
            data = up.read(f"{directory}/{name}")
            for copy in (up.tree / directory / "by-hash/SHA256").iterdir():
                if not copy.is_symlink() and copy.read_bytes() == data:
                    up.link(str(copy.relative_to(up.tree)), target(up, f"{directory}/{name}"))

    return build


def _by_hash_reads(upstream: Path, mirror: Path) -> Iterable[str]:
    """Each by-hash name here leads to its content, if it is here at all."""
    for copy in (mirror / "dists/odd/main/binary-amd64/by-hash/SHA256").glob("*"):
        if copy.is_symlink() and copy.readlink().is_absolute():
            yield f"{copy.name} is an absolute link"
        elif not copy.exists():
            yield f"{copy.name} leads nowhere"


def release_is_a_link(target: str) -> Build:
    """InRelease is a link."""

    def build(up: Upstream, n: int) -> None:
        ordinary(up, n)
        up.move("dists/odd/InRelease", f"dists/odd/{target}")
        up.link("dists/odd/InRelease", target)

    return build


def beside(change: Callable[[Upstream], object]) -> Build:
    """An ordinary suite, and something else below dists."""

    def build(up: Upstream, n: int) -> None:
        ordinary(up, n)
        change(up)

    return build


def _updates_too(up: Upstream, n: int) -> None:
    up.suite("dists/odd/updates", {PACKAGES: two(up, n).encode()})


def _several_repositories(up: Upstream, n: int) -> None:
    ordinary(up, n)
    for repository in ("debian-security", "vendor/ubuntu"):
        data = up.package(
            "more",
            f"1.{n}",
            path=f"{repository}/pool/m/more_1.{n}_amd64.deb",
            filename=f"pool/m/more_1.{n}_amd64.deb",
        ).encode()
        up.suite(f"{repository}/dists/more", {PACKAGES: data, f"{PACKAGES}.gz": gz(data)})


CASES = [
    called_pool(taken, "suite_called_pool"),
    called_pool(held, "suite_called_pool_unsigned", fault=unsigned("dists/pool-testing")),
    called_source(held, "suite_called_source_unsigned", fault=unsigned("dists/source")),
    # dak
    taken("dak", dak, strategies=ALL),
    held("dak_unsigned", dak_without(unsigned("zzz-dists/odd")), repaired=dak),
    held(
        "dak_signed_text_was_changed",
        dak_without(
            lambda up, n: up.put(
                "zzz-dists/odd/InRelease",
                up.read("zzz-dists/odd/InRelease").replace(b"Label: Case", b"Label: Cat"),
            )
        ),
        repaired=dak,
        strategies=ALL,
    ),
    held(
        "dak_index_is_wrong",
        dak_without(
            lambda up, n: [
                up.put(str(x.relative_to(up.tree)), b"wrong")
                for x in (up.tree / "dists/odd/main/binary-amd64/by-hash").rglob("*")
                if x.is_file()
            ]
        ),
        repaired=dak,
    ),
    taken(
        "dak_with_aliases",
        dak_without(
            lambda up, n: [
                up.link(f"dists/{a}", b)
                for a, b in (("stable", "odd"), ("Debian13.1", "odd"), ("stable-updates", "good"))
            ]
        ),
        strategies=ALL,
    ),
    turned("dak_takes_over", ordinary, dak, dak, ordinary),
    # Depth
    three(taken, "three_levels"),
    three(held, "three_levels_unsigned", unsigned("dists/xenial/vendor-org/4.0")),
    updates(taken, "updates_below_nothing"),
    updates(held, "updates_below_nothing_unsigned", unsigned("dists/odd/updates")),
    taken("suite_in_a_suite", odd(after=_updates_too)),
    # Links
    linked(taken, "suite_is_a_link", strategies=ALL),
    linked(held, "suite_is_a_link_unsigned", unsigned("snap/17/odd")),
    linked(
        held,
        "suite_is_a_link_index_wrong",
        lambda up, n: [up.put(f"snap/17/odd/{PACKAGES}{end}", b"wrong") for end in ("", ".gz")],
    ),
    chain(taken, "link_to_a_link"),
    chain(held, "link_to_a_link_unsigned", unsigned("dists/trixie")),
    taken("release_is_a_link_in_the_suite", release_is_a_link("InRelease.17")),
    taken(
        "release_is_a_link_and_the_others_are_not_there",
        odd(
            files=["InRelease"],
            after=lambda up, n: (
                up.move("dists/odd/InRelease", "dists/odd/.17/InRelease"),
                up.link("dists/odd/InRelease", ".17/InRelease"),
            ),
        ),
    ),
    taken("link_that_dangles", beside(lambda up: up.link("dists/old", "gone"))),
    taken(
        "link_loop",
        beside(lambda up: (up.link("dists/a", "b"), up.link("dists/b", "a"), up.link("dists/self", "self"))),
    ),
    taken("link_to_here", beside(lambda up: (up.link("dists/dists", "."), up.link("dists/debian", "../.")))),
    taken(
        "link_out_of_the_tree",
        beside(lambda up: (up.link("dists/out", "../../out"), up.link("dists/abs", "/srv/out"))),
        unserved=("dists/out", "dists/abs"),
    ),
    taken(
        "suite_whose_index_directory_is_a_link",
        odd(
            after=lambda up, n: (up.move("dists/odd/main", "dists/odd/all"), up.link("dists/odd/main", "all"))
        ),
    ),
    taken(
        "by_hash_with_links_into_the_tree",
        absolute_by_hash(lambda up, name: str(up.tree / name)),
        loose=("dists/odd/*/by-hash/*",),
        check=_by_hash_reads,
    ),
    taken(
        "by_hash_with_links_of_the_publisher",
        absolute_by_hash(lambda up, name: f"/home/aptly/public/{name}"),
        loose=("dists/odd/*/by-hash/*",),
        check=_by_hash_reads,
    ),
    taken(
        "by_hash_with_relative_links",
        absolute_by_hash(lambda up, name: f"../../{name.rpartition('/')[2]}"),
        loose=("dists/odd/*/by-hash/*",),
        check=_by_hash_reads,
    ),
    # Flat
    taken("flat_top", flat(""), **FLAT_TOP, strategies=ALL),
    held("flat_top_unsigned", flat_wrong(""), repaired=flat(""), **FLAT_TOP),
    taken("flat_in_a_directory", flat("binary"), **FLAT_SUB),
    held("flat_in_a_directory_unsigned", flat_wrong("binary"), repaired=flat("binary"), **FLAT_SUB),
    # Below one module
    sub(taken, "archive_in_a_directory"),
    sub(held, "archive_in_a_directory_unsigned", unsigned("sub/debian/dists/odd")),
    taken("several_repositories", _several_repositories),
    # Pools
    taken("pool_of_another_name", in_another_pool("packages/o")),
    taken("pool_in_the_suite", in_another_pool("dists/odd/main/binary-amd64")),
    taken("pool_at_the_top", in_another_pool("odd")),
    taken(
        "pool_is_a_link",
        odd(
            lambda up, n: up.package(
                "odd", f"1.{n}", path=f".pool/o/odd_1.{n}_amd64.deb", filename=f"pool2/o/odd_1.{n}_amd64.deb"
            ),
            after=lambda up, n: up.link("pool2", ".pool"),
        ),
        unlisted=("pool2",),  # a directory until then, in which the package is
    ),
]
