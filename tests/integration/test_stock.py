"""An archive without upstream: its owner's tree is looked at, and never touched."""

import json
import os
from pathlib import Path

import pytest

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.daemon import RsyncDaemon
from pushmirror.lab.site import LabSite
from pushmirror.sync.published import read_published


class Owner(LabSite):
    """The owner of a tree."""

    def __init__(self, directory: Path, tree: Path) -> None:
        super().__init__(directory, upstream="")
        self.tree = tree
        self.configure(path=str(tree), upstream=None)

    def generation(self) -> str:
        """What it serves, as it knows since the last sync."""
        published = self.json("status")[0]["generation"]
        assert isinstance(published, str)
        return published


@pytest.fixture
def owner(tmp_path: Path, archive: LabArchive) -> Owner:
    return Owner(tmp_path / "owner", archive.path)


@pytest.fixture
def plain(tmp_path: Path) -> Owner:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("content")
    return Owner(tmp_path / "owner", tmp_path / "plain")


def names(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*")}


def test_taking_stock_learns_the_generation_and_touches_nothing(owner, archive):
    before = names(archive.path)
    result = owner.sync("--json").check()
    assert json.loads(result.output)["message"] == "took stock of the tree"
    assert read_published(archive.path).generation.startswith(owner.generation())
    assert names(archive.path) == before


def test_a_change_is_another_generation_and_no_change_is_none(owner, archive):
    owner.sync().check()
    first = owner.generation()
    owner.sync().check()
    assert owner.generation() == first
    archive.update()
    owner.sync().check()
    assert owner.generation() != first


def test_a_plain_tree_has_the_generation_that_its_mirrors_compute(plain, tmp_path):
    plain.sync().check()
    with RsyncDaemon(tmp_path / "rsyncd") as daemon:
        daemon.add_module("debian", plain.tree)
        site = LabSite(tmp_path / "site", upstream=daemon.url("debian"))
        site.sync().check()
        assert site.json("status")[0]["generation"] == plain.generation()


@pytest.mark.parametrize("change", ["content", "name", "link", "time"])
def test_every_change_of_a_plain_tree_is_seen(plain, change):
    plain.sync().check()
    before, file = plain.generation(), plain.tree / "file"
    match change:
        case "content":
            file.write_text("longer content")
        case "name":
            file.rename(plain.tree / "other")
        case "link":
            (plain.tree / "link").symlink_to("file")
        case "time":
            os.utime(file, (1, 1))
    plain.sync().check()
    assert plain.generation() != before


def test_an_archive_in_the_middle_of_its_update_is_not_taken_for_a_state_of_it(owner, archive):
    owner.sync().check()
    before = owner.generation()
    flag = archive.path / "Archive-Update-in-Progress-dak.example.org"
    flag.touch()
    archive.update()
    result = owner.sync()
    assert (result.exit_code, owner.generation()) == (75, before)
    flag.unlink()
    owner.sync().check()
    assert owner.generation() != before


def test_release_files_of_two_states_are_no_state(owner, archive):
    release = archive.path / "dists" / "trixie" / "Release"
    old = release.read_bytes()
    owner.sync().check()
    archive.update()
    release.write_bytes(old)
    result = owner.sync()
    assert result.exit_code == 75 and "of different states" in result.errors


def test_a_tree_that_is_not_there_is_not_made(plain):
    (plain.tree / "file").unlink()
    plain.tree.rmdir()
    result = plain.sync()
    assert result.exit_code == 78 and "does not exist" in result.errors
    assert not plain.tree.exists()


def test_a_tree_that_has_become_empty_is_a_disk_that_is_not_mounted(plain):
    plain.sync().check()
    (plain.tree / "file").unlink()
    result = plain.sync()
    assert result.exit_code == 78 and "is empty" in result.errors
