"""Links that a local user puts where we write: nothing that they lead to is changed, by any strategy.

What is a link in the last component leaves for what we write; a directory of ours that is one is made anew in
the tree, and refused, by name, in the state directory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.site import ARCHIVE, LabSite
from trees import refused, snapshot
from upstreams import BY_EACH_STRATEGY

each_strategy = pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
NAME = "site.lab.example.org"
AREA = ".~tmp~/pushmirror"
#: What is swapped for a link by a hook.
SWAPPED = {
    "before_sync": ("project/trace", "dists", AREA),
    "after_stage1": ("project", "project/trace", "pool", "pool/main", ".~tmp~", f"{AREA}/new"),
}
#: Puts a link to $outside in the place of $place; what was there is $old.
SWAP = 'mkdir -p "${place%/*}" && mv -T "$place" "$old"; ln -s "$outside" "$place"'


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """What no run may change: another user's directory, with names that a run of ours also has."""
    directory = tmp_path / "outside"
    for name in ("precious", "master", "InRelease", "new/precious", "landed", "pushmirror/new/a", "debian/a"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("precious")
        (directory / name).chmod(0o600)
    (directory / "empty").mkdir()
    before = snapshot(directory)
    yield directory
    assert snapshot(directory) == before


def plant(place: Path, target: Path) -> None:
    """A link in the place of whatever is there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


# The tree


@each_strategy
def test_a_file_of_ours_that_is_a_link_is_replaced_and_nothing_written_through_it(
    archive: LabArchive, site: LabSite, outside: Path, strategy: Strategy
) -> None:
    site.sync().check()
    written = (NAME, "_traces", "_hierarchy", "_hierarchy.mirror")
    names = [*written, f".{NAME}.new", f"{NAME}.new", "_hierarchy.new", ".master.new", "other.example.org"]
    planted = [site.tree / "project/trace" / name for name in names]
    flags = [site.tree / f"Archive-Update-{kind}-{NAME}" for kind in ("in-Progress", "Required")]
    for target in (outside / "precious", outside / "none"):
        for place in (*planted, *flags):
            plant(place, target)
        archive.update()
        site.sync().check()
        assert [place.name for place in planted if place.is_symlink()] == []
        assert [flag for flag in flags if flag.is_symlink() or flag.exists()] == []


@each_strategy
def test_a_directory_of_ours_that_is_a_link_is_made_anew(
    site: LabSite, outside: Path, strategy: Strategy
) -> None:
    site.sync().check()
    for name in ("project/trace", "project", ".~tmp~", AREA):
        plant(site.tree / name, outside)
        site.sync().check()
        assert (site.tree / "project/trace" / NAME).is_file()
        assert not (site.tree / name).is_symlink()
    for name in ("new", "landed", "pin", "scratch", "empty"):
        (site.tree / AREA).mkdir(mode=0o700, parents=True, exist_ok=True)
        plant(site.tree / AREA / name, outside / "landed" if name == "landed" else outside)
    site.sync().check()


@each_strategy
@pytest.mark.parametrize("moment", SWAPPED)
def test_a_directory_that_becomes_a_link_in_the_middle_of_a_run_leads_nobody_out(
    archive: LabArchive, site: LabSite, outside: Path, tmp_path: Path, moment: str
) -> None:
    site.sync().check()
    for number, name in enumerate(SWAPPED[moment]):
        place, old = site.tree / name, tmp_path / f"old{number}"
        archive.update()
        script = f'outside="{outside}"; old="{old}"; place="{place}"; {SWAP}'
        site.configure(hooks={moment: ["sh", "-c", script]})
        found = site.sync()
        assert old.exists(), name
        assert found.exit_code in {Exit.OK, Exit.STAGE1, Exit.STAGE2, Exit.CONFIG}, found.errors
        assert (
            not found.exit_code
            or "link" in found.errors
            or "was replaced by another directory" in found.errors
        ), found.errors
        site.configure(hooks=None)
        if place.is_symlink():
            place.unlink()
        if not place.exists() and name.startswith(("pool", "dists")):
            shutil.move(old, place)  # as whoever is told of the link does
    site.sync("--allow-mass-delete", "--strategy", "full").check()


@each_strategy
def test_links_inside_the_tree_and_to_the_tree_and_the_state_go_on_working(
    archive: LabArchive, site: LabSite, outside: Path, strategy: Strategy, tmp_path: Path
) -> None:
    for name, place in (("disk/tree", site.tree), ("disk/state", site.state)):
        (tmp_path / name).mkdir(parents=True)
        place.symlink_to(tmp_path / name)
    site.sync().check()
    archive.update()
    site.sync().check()
    links = [path.name for path in (archive.path / "dists").iterdir() if path.is_symlink()]
    assert links
    assert all((site.tree / "dists" / name / "InRelease").is_file() for name in links)
    assert site.tree.is_symlink() and site.state.is_symlink()


# The state


def test_a_directory_of_the_state_that_is_a_link_is_refused_by_name(
    archive: LabArchive, site: LabSite, outside: Path, tmp_path: Path
) -> None:
    site.sync().check()
    site.run("verify").check()
    directories = sorted(path for path in site.state.rglob("*") if path.is_dir())
    names = {str(path.relative_to(site.state)) for path in directories}
    assert {"backups", "closures/debian", "inventories", "logs/debian", "suites", "verify/debian"} <= names
    archive.update()
    for place in directories:
        kept = tmp_path / "kept"
        place.rename(kept)
        place.symlink_to(outside)
        for words in (("sync",), ("verify",), ("state", "backup")):
            refused(site.run(*words), Exit.FAILED, f"{place} is a link", "mount")
        place.unlink()
        kept.rename(place)
    site.sync().check()


@each_strategy
def test_a_file_of_the_state_that_is_a_link_is_not_written_through(
    archive: LabArchive, site: LabSite, outside: Path, strategy: Strategy
) -> None:
    site.sync().check()
    site.run("verify").check()
    files = [path for path in site.state.rglob("*") if path.is_file()]
    database = site.state / "state.sqlite"
    planted = [path for path in files if path != database and "logs" not in path.parts]
    for target in (outside / "precious", outside / "none"):
        for place in planted:
            plant(place, target)
        archive.update()
        site.sync().check()
        site.run("verify").check()
    assert [str(place) for place in planted if place.is_symlink()] == []


def test_a_state_database_that_is_a_link_is_refused(site: LabSite, outside: Path) -> None:
    site.sync().check()
    database = site.state / "state.sqlite"
    for target in (outside / "precious", outside / "none"):
        plant(database, target)
        found = site.sync()
        refused(found, Exit.FAILED, f"{database} is a link", "[state]")
    database.unlink()
    site.run("state", "restore").check()
    site.sync().check()


def test_the_log_of_a_push_is_not_written_through_a_link(
    archive: LabArchive, site: LabSite, outside: Path
) -> None:
    log = site.state / "logs/push" / f"{ARCHIVE}.log"
    plant(log, outside / "precious")
    (site.etc / "sites.d").mkdir()
    (site.etc / "sites.d/a.example.org.toml").write_text(
        'host = "127.0.0.1"\nport = 9\nuser = "mirror"\narchives = ["debian"]\n'
    )
    site.sync().check()
    assert log.is_file() and not log.is_symlink()
