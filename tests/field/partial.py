"""Mirrors of some architectures: what their indices name is what they have, however it is called."""

from __future__ import annotations

from collections.abc import Callable

from field.builder import PACKAGES, Upstream, gz
from field.case import Build, Case, clear, ordinary, taken
from field.indices import SOURCES

AMD64 = {"architectures": ["amd64"]}


def both(amd64: Callable[[Upstream, int], str], arm64: Callable[[Upstream, int], str], **more: str) -> Build:
    """A suite of two architectures."""

    def build(up: Upstream, n: int) -> None:
        clear(up)
        texts = {PACKAGES: amd64(up, n), "main/binary-arm64/Packages": arm64(up, n), **more}
        indices = {
            f"{name}{end}": pack(x.encode())
            for name, x in texts.items()
            for end, pack in (("", bytes), (".gz", gz))
        }
        up.suite("dists/odd", indices, fields={"Architectures": "amd64 arm64"})

    return build


def package(path: str, arch: str = "amd64") -> Callable[[Upstream, int], str]:
    """`odd`, in a file of this name; {n} is the state."""

    def write(up: Upstream, n: int) -> str:
        return up.package("odd", f"1.{n}", path=f"pool/main/o/odd/{path.format(n=n)}", arch=arch)

    return write


def other(path: str) -> Callable[[Upstream, int], str]:
    """A package of the architecture that is not mirrored."""
    return lambda up, n: up.package("other", f"1.{n}", path=f"pool/main/o/other/{path}", arch="arm64")


def _lost(up: Upstream, n: int) -> str:
    stanza = other("gone_1_arm64.deb")(up, n)
    up.remove("pool/main/o/other")
    return stanza


def _and_sources(up: Upstream, n: int) -> None:
    clear(up)
    packages, sources = up.package("odd", f"1.{n}").encode(), up.source("src", "1").encode()
    up.suite("dists/odd", {PACKAGES: packages, f"{PACKAGES}.gz": gz(packages), SOURCES: sources})


def _two_components(up: Upstream, n: int) -> None:
    clear(up)
    main, extra = up.package("odd", f"1.{n}").encode(), up.package("extra", "1").encode()
    udeb = up.package("odd-udeb", "1", path="pool/main/o/odd/odd-udeb_1_amd64.udeb").encode()
    names = {
        PACKAGES: main,
        "contrib/binary-amd64/Packages": extra,
        "main/debian-installer/binary-amd64/Packages": udeb,
    }
    up.suite("dists/odd", names, fields={"Components": "main contrib"})


def mirrored(name: str, build: Build, *unserved: str, **keys: object) -> Case:
    """Apt for amd64 gets it."""
    return taken(name, build, options=AMD64, unserved=("*/binary-arm64*", *unserved), **keys)


CASES = [
    mirrored("usual_name", both(package("odd_1.{n}_amd64.deb"), other("other_1_arm64.deb")), "*/other*"),
    mirrored("name_x64", both(package("odd_1.{n}_x64.deb"), other("other_1_arm64.deb")), "*/other*"),
    mirrored(
        "name_without_architecture", both(package("odd_1.{n}.deb"), other("other_1_arm64.deb")), "*/other*"
    ),
    mirrored(
        "name_of_the_other_architecture",
        both(package("odd_1.{n}_arm64.deb"), other("other_1_arm64.deb")),
        "*/other_*",
    ),
    mirrored("name_without_deb", both(package("odd-{n}"), other("other_1_arm64.deb")), "*/other*"),
    mirrored(
        "names_by_architecture_directory",
        both(package("arm64/amd64/odd_1.{n}.deb"), other("x/other_1_arm64.deb")),
        "*/other*",
    ),
    mirrored(
        "package_for_all_in_both",
        both(package("odd_1.{n}_arm64.deb", "all"), package("odd_1.{n}_arm64.deb", "all")),
    ),
    mirrored("lost_package_of_the_other_architecture", both(package("odd_1.{n}_amd64.deb"), _lost)),
    mirrored("sources_are_not_mirrored", _and_sources, "dists/odd/main/source*", "pool/main/s/*"),
    mirrored("components_and_installer", _two_components),
    taken("sources_only_too", _and_sources, options={"architectures": ["amd64", "source"]}),
    taken(
        "excluded_packages",
        ordinary,
        options={"exclude": ["/pool/main/o/odd-old/"]},
        unserved=("pool/main/o/odd-old*",),
    ),
    taken("excluded_suite", ordinary, options={"exclude": ["/dists/other/"]}),
]
