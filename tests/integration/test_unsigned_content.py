"""With a keyring, what is served is named by something signed, or comes from where all is signed."""

import os
from pathlib import Path

import pytest

from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Layout
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from trees import refused, snapshot
from upstreams import OwnedArchive, archive_for

_PLANTED = {
    ".htaccess": b"Redirect / http://evil.example/\n",
    "index.html": b"<h1>evil</h1>\n",
    "doc/evil.txt": b"evil\n",
    "pool/main/e/evil/evil_1_all.deb": b"evil",
    "dists/sid/evil.html": b"evil",
}
_CHANGED = "README"
SEES_ALL = [pytest.param(one, id=one.value) for one in (Strategy.FULL, Strategy.MANIFEST)]


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(strategy, tmp_path / "archive", packages=6, layout=Layout.SIMPLE, key=lab_key)


@pytest.fixture
def evil(tmp_path: Path) -> LabKey:
    return LabKey.create(tmp_path / "evil", owner="Evil <evil@example.org>")


def plant(archive: LabArchive, *paths: str) -> None:
    """Put files into upstream's tree that no index names."""
    for path in paths:
        file = archive.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_PLANTED.get(path, b"evil " + path.encode()))
    if isinstance(archive, OwnedArchive):
        archive.take_stock()


def sign_anew(archive: LabArchive, key: LabKey, *suites: str) -> None:
    """Let another key sign what a suite's Release files say."""
    with key.unlocked() as signer:
        for suite in suites:
            directory = archive.path / "dists" / suite
            text = (directory / "Release").read_bytes()
            (directory / "InRelease").write_bytes(signer.clear(text))
            (directory / "Release.gpg").write_bytes(signer.detached(text))
    if isinstance(archive, OwnedArchive):
        archive.take_stock()


def planted(site: LabSite) -> list[str]:
    return [path for path in _PLANTED if os.path.lexists(site.tree / path)]


@pytest.mark.parametrize("strategy", SEES_ALL)
@pytest.mark.parametrize("stage", [(), ("--stage", "1")], ids=["all", "stage 1"])
def test_nothing_of_an_upstream_that_another_key_has_signed_reaches_the_tree(
    site: LabSite, archive: LabArchive, evil: LabKey, stage: tuple[str, ...]
) -> None:
    site.sync().check()
    before = snapshot(site.tree)
    archive.update()
    plant(archive, *_PLANTED, _CHANGED)
    sign_anew(archive, evil, *(suite.codename for suite in archive.suites))
    assert site.sync(*stage).exit_code in {Exit.STAGE1, Exit.STAGE2}
    assert {path: seen for path, seen in snapshot(site.tree).items() if not path.startswith("project/")} == {
        path: seen for path, seen in before.items() if not path.startswith("project/")
    }


@pytest.mark.parametrize("strategy", SEES_ALL)
def test_while_one_suite_is_signed_by_another_key_only_what_signed_indices_name_is_taken(
    site: LabSite, archive: LabArchive, evil: LabKey
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    readme = (site.tree / _CHANGED).read_bytes()
    added = archive.update().added
    plant(archive, *_PLANTED, _CHANGED)
    sign_anew(archive, evil, "trixie")
    for stage in ("--stage", "1"), ():
        refused(site.sync(*stage), Exit.OK if stage else Exit.HELD, *(() if stage else (".htaccess",)))
        assert planted(site) == [] and (site.tree / _CHANGED).read_bytes() == readme
        assert broken(site.tree, thorough=True) == []
    assert (site.tree / "dists/sid/InRelease").read_bytes() == (
        archive.path / "dists/sid/InRelease"
    ).read_bytes()
    assert any((site.tree / path).exists() for path in added)
    archive.update()  # signs all of it again
    site.sync().check()
    assert planted(site) == list(_PLANTED) and same_tree(archive.path, site.tree) == []


@pytest.mark.parametrize("strategy", SEES_ALL)
def test_what_no_signed_index_names_waits_for_the_end_of_stage_2(site: LabSite, archive: LabArchive) -> None:
    site.sync().check()
    added = archive.update().added
    plant(archive, *_PLANTED)
    site.sync("--stage", "1").check()
    assert planted(site) == [] and all((site.tree / path).exists() for path in added)
    site.sync("--stage", "2").check()
    assert planted(site) == list(_PLANTED)


@pytest.mark.parametrize("strategy", SEES_ALL)
def test_packages_of_a_state_to_come_are_passed_on_from_where_all_that_is_signed_is_served_here(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    plant(archive, *_PLANTED)
    site.sync("--stage", "1").check()
    assert planted(site) == ["pool/main/e/evil/evil_1_all.deb"]
    assert broken(site.tree, thorough=True) == []


@pytest.mark.parametrize("strategy", [Strategy.FULL])  # others know its hash before they fetch it
def test_a_new_file_that_is_not_what_a_signed_index_says_never_reaches_the_tree(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    added = [path for path in archive.update().added if path.endswith(".deb")]
    (archive.path / added[0]).write_bytes(bytes((archive.path / added[0]).stat().st_size))
    for stage in ("--stage", "1"), ():
        site.sync(*stage)
        assert not (site.tree / added[0]).exists()
        assert broken(site.tree, thorough=True) == []


@pytest.mark.parametrize("strategy", [Strategy.FULL])
def test_many_names_that_nothing_signed_covers_do_not_keep_contents_from_being_checked(
    site: LabSite, archive: LabArchive
) -> None:
    site.sync().check()
    added = [path for path in archive.update().added if path.endswith(".deb")]
    (archive.path / added[0]).write_bytes(bytes((archive.path / added[0]).stat().st_size))
    plant(archive, "junk/0")
    for number in range(1, 20_001):
        os.link(archive.path / "junk/0", archive.path / f"junk/{number}")
    site.sync("--stage", "1")
    assert not (site.tree / added[0]).exists() and (site.tree / added[1]).exists()


@pytest.mark.parametrize("strategy", SEES_ALL)
def test_while_one_suite_is_signed_by_another_key_nothing_is_deleted_that_no_index_named(
    site: LabSite, archive: LabArchive, evil: LabKey
) -> None:
    site.configure(grace="0s")
    plant(archive, "doc/ours.txt")
    site.sync().check()
    (archive.path / "doc/ours.txt").unlink()
    removed = archive.update(add=2, replace=2, remove=2).removed
    sign_anew(archive, evil, "trixie")
    refused(site.sync(), Exit.HELD)
    assert (site.tree / "doc/ours.txt").exists()
    assert broken(site.tree, thorough=True) == []
    archive.update()
    site.sync().check()
    assert not (site.tree / "doc/ours.txt").exists() and not any(
        (site.tree / path).exists() for path in removed
    )
