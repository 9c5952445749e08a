import pytest

from pushmirror.archive.paths import link_stays_inside, resolve, tree_path
from pushmirror.errors import BadPath

BAD = [
    "", ".", "..", "./", "/", "/etc/passwd", "a/../b", "../a", "a/..", "a/./b", "a//b", "a/", ".//a", "././a",
    "a\0b", "a\nb", "a\rb", "a\tb", "a\x1b[2Jb", "a\x7f", "a\x85", "x" * 256, "é" * 128,
    "a/" * 2048 + "b", "a\ud800b",
]  # fmt: skip


@pytest.mark.parametrize("raw", BAD)
def test_what_does_not_belong_into_a_tree_is_refused(raw: str) -> None:
    with pytest.raises(BadPath, match=r"Packages: the path"):
        tree_path(raw, where="Packages")


@pytest.mark.parametrize(
    "raw", ["a", "a b", "pool/main/0/0ad_1+b1~x.deb", "..a", ".a", "a\udcff", "é", "x" * 255]
)
def test_what_belongs_into_a_tree_is_kept_as_it_is(raw: str) -> None:
    assert tree_path(raw, where="Packages") == raw


def test_the_dot_slash_of_a_flat_repository_is_dropped() -> None:
    assert tree_path("./a/b.deb", where="Packages") == "a/b.deb"


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("dists/stable", "bookworm", True),
        ("a/b/l", "../../c", True),
        ("a/b/l", "../../../c", False),
        ("l", "..", False),
        ("l", ".", True),
        ("a/l", "./../b//c/", True),
        ("a/l", "b/../c", False),  # b may be a link itself
        ("l", "/etc", False),
        ("l", "", False),
        ("l", "a\nb", False),
    ],
)
def test_a_link_that_could_leave_the_tree_is_told(path: str, target: str, inside: bool) -> None:
    assert link_stays_inside(path, target) is inside


def test_links_among_the_directories_are_followed() -> None:
    links = {"dists/stable": "bookworm", "dists/bookworm/main/installer-amd64/current": "2023", "debian": "."}
    path = "debian/dists/stable/main/installer-amd64/current/images/SHA256SUMS"
    assert resolve(path, links) == "dists/bookworm/main/installer-amd64/2023/images/SHA256SUMS"


def test_a_link_to_a_link_and_upwards_is_followed() -> None:
    assert resolve("a/b/x", {"a/b": "../c", "c": "d/e"}) == "d/e/x"


def test_the_last_component_is_kept_even_if_it_is_a_link() -> None:
    assert resolve("project/trace/master", {"project/trace/master": "hub"}) == "project/trace/master"


@pytest.mark.parametrize(
    "links", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "a/a"}, {"a": "../x"}, {"a": "/x"}]
)
def test_links_that_loop_or_leave_are_refused(links: dict[str, str]) -> None:
    with pytest.raises(BadPath, match=r"loop|lead out"):
        resolve("a/x", links)
