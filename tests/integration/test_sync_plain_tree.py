"""A plain tree, without dists/: names, types, links, modes, and what somebody changed here by hand."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import same_tree
from pushmirror.lab.site import ARCHIVE, LabSite
from support.rsync_daemon import RsyncDaemon
from trees import refused, snapshot

USER, PASSWORD = "site1.example.com", "correct horse battery staple"


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A small plain tree."""
    tree = tmp_path / "upstream"
    for path in ("README", "a/one", "a/two", "b/c/three", "project/trace/master"):
        put(tree / path, path)
    return tree


@pytest.fixture
def site(tmp_path: Path, upstream: Path, daemon: RsyncDaemon) -> LabSite:
    daemon.add_module(ARCHIVE, upstream, {USER: PASSWORD})
    return LabSite(tmp_path / "site", password=PASSWORD, upstream=daemon.url(ARCHIVE, USER))


_times = iter(range(1_600_000_000, 1_700_000_000))


def put(path: Path, text: str) -> None:
    """Write a file with a time that no other has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    when = next(_times)
    os.utime(path, (when, when))


def numbers(site: LabSite) -> dict[str, int]:
    """The figures of the last run."""
    found: dict[str, int] = site.json("history")[0]["stats"]
    return found


# A life


def test_a_plain_tree_is_mirrored(site: LabSite, upstream: Path) -> None:
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_a_file_from_before_1970_with_a_fraction_of_a_second_is_as_it_should_be(
    site: LabSite, upstream: Path
) -> None:
    os.utime(upstream / "a/one", ns=(0, -1_500_000_000))
    site.sync().check()
    site.run("verify").check()
    site.sync("--strategy", "full").check()
    assert numbers(site)["published"] == 0 and same_tree(upstream, site.tree) == []


def test_additions_changes_and_deletions_are_followed(site: LabSite, upstream: Path) -> None:
    site.sync().check()
    put(upstream / "a/one", "changed")
    put(upstream / "new/deep/file", "new")
    (upstream / "b/c/three").unlink()
    (upstream / "b/c").rmdir()
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_a_second_sync_without_a_change_does_nothing(site: LabSite) -> None:
    site.sync().check()
    before = snapshot(site.tree)
    site.sync().check()
    assert snapshot(site.tree) == before
    assert (numbers(site)["files_fetched"], numbers(site)["published"], numbers(site)["deleted"]) == (0, 0, 0)


def test_the_generation_of_a_plain_tree_changes_with_it(site: LabSite, upstream: Path) -> None:
    site.sync().check()
    site.sync().check()
    put(upstream / "a/one", "changed")
    site.sync().check()
    third, second, first = (run["generation"] for run in site.json("history"))
    assert first and first == second != third


def test_an_emptied_plain_tree_is_refused(site: LabSite, upstream: Path, tmp_path: Path) -> None:
    site.sync().check()
    before = snapshot(site.tree)
    upstream.rename(tmp_path / "away")
    upstream.mkdir()
    refused(site.sync(), 3, "empty")
    assert snapshot(site.tree) == before


# Types


def replace_by_directory(path: Path) -> None:
    path.unlink()
    put(path / "inside", "now a directory")


def replace_by_file(path: Path) -> None:
    for child in path.iterdir():
        child.unlink()
    path.rmdir()
    put(path, "now a file")


def replace_by_link(path: Path) -> None:
    for child in path.iterdir():
        child.unlink()
    path.rmdir()
    path.symlink_to("b")


def file_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("two")


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("a/one", replace_by_directory),
        ("a", replace_by_file),
        ("a", replace_by_link),
        ("a/one", file_by_link),
    ],
)
def test_a_name_that_becomes_something_else_is_replaced(
    site: LabSite, upstream: Path, path: str, change: Callable[[Path], None]
) -> None:
    site.sync().check()
    change(upstream / path)
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_a_link_that_becomes_a_directory_does_not_lead_the_new_files_elsewhere(
    site: LabSite, upstream: Path
) -> None:
    (upstream / "current").symlink_to("a")
    site.sync().check()
    (upstream / "current").unlink()
    put(upstream / "current/one", "another one")
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_a_link_that_becomes_a_file_does_not_change_what_it_led_to(site: LabSite, upstream: Path) -> None:
    (upstream / "link").symlink_to("README")
    site.sync().check()
    (upstream / "link").unlink()
    put(upstream / "link", "a file of its own")
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_a_link_that_turns_leads_to_the_new_target(site: LabSite, upstream: Path) -> None:
    (upstream / "current").symlink_to("a")
    site.sync().check()
    (upstream / "current").unlink()
    (upstream / "current").symlink_to("b/c")
    site.sync().check()
    assert str((site.tree / "current").readlink()) == "b/c"
    assert same_tree(upstream, site.tree) == []


def test_a_large_directory_is_not_cleared_for_a_file_without_being_asked(
    site: LabSite, upstream: Path
) -> None:
    for number in range(5):
        put(upstream / f"many/{number}", str(number))
    site.configure(delete={"max_files": 3})
    site.sync().check()
    before = snapshot(site.tree / "many")
    replace_by_file(upstream / "many")
    assert "delete.max_files" in site.sync().check().errors
    assert snapshot(site.tree / "many") == before
    site.sync("--allow-mass-delete").check()
    assert same_tree(upstream, site.tree) == []


# Names

ODD = (
    "with space",
    " leading and trailing ",
    "-leading-dash",
    "--delete",
    "ünïcödé 🐧",
    "back\\slash",
    "\\#012 looks escaped",
    "ha#sh",
    "; comment",
    "a -> b",
    "star*quest?[set]",
    "quote'\"`$HOME $(id)",
    "colon:two::three",
    "@at",
    "tilde~",
    "+ plus",
    "- minus",
    "!",
    "name.",
    ".hidden",
    "..two dots",
    "x" * 255,
)


def test_files_with_odd_names_come_and_go(site: LabSite, upstream: Path) -> None:
    for name in ODD:
        put(upstream / "odd" / name, name)
        put(upstream / name / "below", name)
    site.sync().check()
    assert same_tree(upstream, site.tree) == []
    for name in ODD:
        put(upstream / "odd" / name, f"{name} changed")
        (upstream / name / "below").unlink()
        (upstream / name).rmdir()
    site.configure(delete={"max_share": 1.0})
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_names_that_are_not_utf_8_survive(site: LabSite, upstream: Path) -> None:
    put(upstream / os.fsdecode(b"latin1-\xe9\xff"), "old bytes")
    site.sync().check()
    assert same_tree(upstream, site.tree) == []
    assert os.path.lexists(os.fsencode(site.tree) + b"/latin1-\xe9\xff")


@pytest.mark.parametrize("name", ["new\nline", "escape\x1b[2J", "return\r"])
def test_a_name_with_a_control_character_costs_that_name_only_and_is_said_harmlessly(
    site: LabSite, upstream: Path, name: str
) -> None:
    site.sync().check()
    put(upstream / name, "never")
    put(upstream / "a/three", "new")
    result = site.sync().check()
    assert f"skipping 1 names at upstream that cannot be mirrored: {name!r}" in result.errors
    assert "\x1b" not in result.errors
    assert (site.tree / "a/three").exists() and not os.path.lexists(site.tree / name)


def test_a_link_whose_name_or_target_has_an_arrow_does_no_harm(site: LabSite, upstream: Path) -> None:
    site.sync().check()
    before = snapshot(site.tree)
    (upstream / "a -> b").symlink_to("README")
    result = site.sync()
    if result.exit_code == 0:
        assert same_tree(upstream, site.tree) == []
    else:
        refused(result, 3, "a -> b")
        assert snapshot(site.tree) == before


# What is not a file


def test_empty_directories_are_mirrored_and_removed(site: LabSite, upstream: Path) -> None:
    (upstream / "empty/er").mkdir(parents=True)
    site.sync().check()
    assert (site.tree / "empty/er").is_dir()
    (upstream / "empty/er").rmdir()
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_hard_links_arrive_with_their_content_and_stay_hard_links(site: LabSite, upstream: Path) -> None:
    os.link(upstream / "a/one", upstream / "a/same")
    site.sync().check()
    assert same_tree(upstream, site.tree) == []
    assert (site.tree / "a/same").samefile(site.tree / "a/one")


def test_an_empty_file_is_mirrored(site: LabSite, upstream: Path) -> None:
    put(upstream / "nothing", "")
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_modes_are_those_that_every_client_can_read(site: LabSite, upstream: Path) -> None:
    (upstream / "a/one").chmod(0o755)
    (upstream / "a/two").chmod(0o600)
    (upstream / "b").chmod(0o700)
    site.sync().check()
    assert modes(site.tree, "a/one", "a/two", "b") == [0o644, 0o644, 0o755]


def test_wrong_modes_are_repaired(site: LabSite) -> None:
    site.sync().check()
    (site.tree / "a/one").chmod(0o600)
    (site.tree / "b").chmod(0o700)
    site.sync().check()
    assert modes(site.tree, "a/one", "b") == [0o644, 0o755]


def modes(tree: Path, *paths: str) -> list[int]:
    return [stat.S_IMODE((tree / path).stat().st_mode) for path in paths]


# By hand


def test_what_was_changed_here_by_hand_is_repaired(site: LabSite, upstream: Path) -> None:
    site.sync().check()
    put(site.tree / "a/one", "vandalised")
    (site.tree / "a/two").unlink()
    put(site.tree / "b/not ours", "extra")
    (site.tree / "b/c/three").unlink()
    (site.tree / "b/c").rmdir()
    site.sync().check()
    assert same_tree(upstream, site.tree) == []


def test_a_tree_is_reached_through_a_link_in_its_path(site: LabSite, upstream: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    site.tree.symlink_to(tmp_path / "disk")
    site.sync().check()
    put(upstream / "a/one", "changed")
    (upstream / "a/two").unlink()
    site.sync().check()
    assert same_tree(upstream, tmp_path / "disk") == []
    assert site.tree.is_symlink()


def test_what_rsync_left_behind_in_its_own_work_area_is_no_hindrance(site: LabSite, upstream: Path) -> None:
    site.sync().check()
    put(site.tree / ".~tmp~/a/one", "left by an rsync of another time")
    put(site.tree / "a/.~tmp~/one", "left by an rsync of another time")
    put(upstream / "a/one", "changed")
    site.sync().check()
    assert (site.tree / "a/one").read_text() == "changed"


def test_a_work_area_that_leads_elsewhere_is_not_followed(
    site: LabSite, upstream: Path, tmp_path: Path
) -> None:
    site.sync().check()
    put(tmp_path / "elsewhere/pin/precious", "precious")
    (site.tree / ".~tmp~").mkdir(exist_ok=True)
    (site.tree / ".~tmp~/pushmirror").symlink_to(tmp_path / "elsewhere")
    before = snapshot(tmp_path / "elsewhere")
    put(upstream / "a/one", "changed")
    site.sync()
    assert snapshot(tmp_path / "elsewhere") == before


# With a keyring


def test_a_keyring_that_nothing_of_upstream_could_be_verified_with_is_an_error_with_a_way_out(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(keyring=str(archive.keyring))
    words = (
        "found no Release file at upstream to verify with the keyring",
        "release_directories",
        "remove `keyring`",
    )
    refused(site.sync(), Exit.STAGE1, *words)
    assert not (site.tree / "README").exists()


def test_a_flat_repository_is_verified_with_the_keyring(
    site: LabSite, archive: LabArchive, upstream: Path
) -> None:
    site.configure(keyring=str(archive.keyring))
    shutil.copy(archive.path / "dists/sid/InRelease", upstream / "InRelease")
    site.sync().check()
    assert (site.tree / "InRelease").exists() and same_tree(upstream, site.tree) == []
