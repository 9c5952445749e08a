"""The strategy `index`: Release files and signed lists alone tell what to fetch and what may go."""

import gzip
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from support.damage import rebuild_file, spoil_file

UNLISTED = ("ls-lR.gz", "indices/", "Packages.diff/by-hash/")  # no signed list of the lab names these


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=8, key=lab_key)


@pytest.fixture
def site(make_site: Callable[..., LabSite]) -> LabSite:
    """A site that has compared its whole tree once, and then asks the indices."""
    site = make_site(strategy="index", grace="0s")
    site.sync().check()
    return site


def sync(site: LabSite, *words: str) -> tuple[str, str]:
    """Sync; the strategy that it took, and why."""
    site.sync(*words).check()
    assert broken(site.tree, thorough=True) == []
    run = site.json("history", "debian")[0]
    return run["strategy"], run["why"]


def differences(archive: LabArchive, site: LabSite) -> list[str]:
    """In what is listed."""
    return [line for line in same_tree(archive.path, site.tree) if not any(name in line for name in UNLISTED)]


def test_updates_are_followed_by_indices_alone(site: LabSite, archive: LabArchive) -> None:
    for _ in range(2):
        removed = archive.update(installer=False).removed
        assert sync(site)[0] == "index"
        assert not any((site.tree / path).exists() for path in removed)
        assert differences(archive, site) == []


def test_without_a_change_nothing_is_fetched(site: LabSite) -> None:
    assert sync(site)[0] == "index"
    numbers = site.json("history", "debian")[0]["stats"]
    assert (numbers["files_fetched"], numbers["published"], numbers["deleted"]) == (0, 0, 0)


def test_stage_1_fetches_what_stage_2_publishes(site: LabSite, archive: LabArchive) -> None:
    added = archive.update(installer=False).added
    assert sync(site, "--stage", "1")[0] == "index"
    assert all((site.tree / path).exists() for path in added)
    assert sync(site, "--stage", "2")[0] == "index"
    assert site.json("history", "debian")[0]["stats"]["bytes_fetched"] < 10_000
    assert differences(archive, site) == []


def test_stage_1_below_a_hub_in_its_own_stage_1_is_left_to_the_strategy_full(
    site: LabSite, archive: LabArchive
) -> None:
    (archive.path / "pool/main/a/ahead").mkdir()
    (archive.path / "pool/main/a/ahead/ahead_1_all.deb").write_text("what the Release files do not tell of")
    strategy, why = sync(site, "--stage", "1")
    assert strategy == "full" and "have not changed yet" in why
    assert (site.tree / "pool/main/a/ahead/ahead_1_all.deb").exists()


def test_an_installer_whose_link_turns_is_left_to_the_strategy_full(
    site: LabSite, archive: LabArchive
) -> None:
    archive.update(installer=True)
    strategy, why = sync(site)
    assert strategy == "full" and "its path contains a link" in why
    assert same_tree(archive.path, site.tree) == []


def test_documents_are_followed_by_the_list_that_names_them(site: LabSite, archive: LabArchive) -> None:
    archive.write_documents({"README": "new\n", "doc/new/page": "new\n"})
    archive.update(installer=False)
    assert sync(site)[0] == "index"
    assert (site.tree / "README").read_text() == "new\n"
    assert differences(archive, site) == []


def test_a_list_of_documents_that_somebody_else_signed_changes_nothing(
    site: LabSite, archive: LabArchive, tmp_path: Path
) -> None:
    text = f"{'0' * 64}  README\n".encode()
    with LabKey.create(tmp_path / "other").unlocked() as signer:
        (archive.path / "extrafiles").write_bytes(signer.clear(text))
    archive.update(installer=False)
    before = (site.tree / "extrafiles").read_bytes()
    assert sync(site)[0] == "index"
    assert (site.tree / "extrafiles").read_bytes() == before
    assert (site.tree / "doc/00-INDEX").exists()


def test_what_replaced_indices_refer_to_goes_when_their_grace_is_over(
    site: LabSite, archive: LabArchive
) -> None:
    site.configure(grace="36h")
    removed = archive.update(installer=False).removed
    sync(site)
    assert all((site.tree / path).exists() for path in removed)
    with closing(sqlite3.connect(site.state / "closures/debian/ledger.sqlite")) as closures, closures:
        closures.execute("UPDATE generations SET replaced = replaced - ?", (3 * 86400,))
    assert sync(site)[0] == "index"
    assert not any((site.tree / path).exists() for path in removed)
    assert differences(archive, site) == []


def test_only_the_architectures_that_are_mirrored_are_followed(
    make_site: Callable[..., LabSite], archive: LabArchive
) -> None:
    site = make_site(strategy="index", grace="0s", architectures=["arm64"])
    site.sync().check()
    archive.update(add=6, installer=False)
    assert sync(site)[0] == "index"
    here = {path.name for path in (site.tree / "pool").rglob("*.*deb")}
    there = {path.name for path in (archive.path / "pool").rglob("*.*deb")}
    assert here == {name for name in there if "_arm64." in name or "_all." in name}


def test_another_selection_is_left_to_the_strategy_full(site: LabSite, archive: LabArchive) -> None:
    site.configure(exclude=["/doc/"])
    archive.update(installer=False)
    assert sync(site)[0] == "full"
    assert not (site.tree / "doc").exists()


def test_without_the_ledger_the_whole_tree_is_compared(site: LabSite, archive: LabArchive) -> None:
    shutil.rmtree(site.state / "closures/debian")
    archive.update(installer=False)
    strategy, why = sync(site)
    assert strategy == "full" and "are unknown" in why


def test_a_package_with_another_content_of_the_same_size_comes_anew(
    site: LabSite, archive: LabArchive
) -> None:
    path = rebuild_file(archive)
    archive.update(add=1, replace=0, remove=0, installer=False)
    assert sync(site)[0] == "index"
    assert (site.tree / path).read_bytes() == (archive.path / path).read_bytes()


def test_an_index_that_was_lost_here_comes_back_with_what_it_names(
    site: LabSite, archive: LabArchive
) -> None:
    for file in (site.tree / "dists/sid/main/binary-amd64").glob("Packages*"):
        if file.is_file():
            file.unlink()
    archive.update(installer=False)
    assert sync(site)[0] == "index"
    assert differences(archive, site) == []


@pytest.mark.parametrize("way", ["index", "full"])
def test_a_variant_that_upstream_dropped_does_not_stay_beside_a_release_with_another_hash(
    site: LabSite, archive: LabArchive, way: str
) -> None:
    site.configure(grace="36h", strategy=way)
    archive.update(installer=False)
    name = "dists/sid/main/binary-amd64/Packages.gz"
    text = (archive.path / name).read_bytes()
    (archive.path / name).unlink()
    for copy in (archive.path / name).parent.glob("by-hash/*/*"):
        if copy.read_bytes() == text:
            copy.unlink()
    site.sync().check()
    assert not (site.tree / name).exists() and (site.tree / name).with_suffix(".xz").exists()


def test_an_index_that_upstream_begins_to_carry_is_followed(site: LabSite, archive: LabArchive) -> None:
    directory = "dists/sid/main/binary-amd64"
    packed = archive.path / directory / "Packages.gz"
    assert not (site.tree / directory / "Packages").exists()
    archive.update(installer=False)
    plain = gzip.decompress(packed.read_bytes())
    (archive.path / directory / "Packages").write_bytes(plain)
    assert sync(site)[0] == "index"
    assert (site.tree / directory / "Packages").read_bytes() == plain


def test_an_index_that_upstream_spoiled_is_not_published(site: LabSite, archive: LabArchive) -> None:
    archive.update(installer=False)
    for path in (archive.path / "dists/sid/main/binary-amd64").rglob("*"):
        if path.is_file():
            path.write_bytes(b"spoiled")
    assert site.sync().exit_code == Exit.HELD
    assert broken(site.tree, thorough=True) == []


def test_a_damaged_package_is_not_published(site: LabSite, archive: LabArchive) -> None:
    added = archive.update(installer=False).added
    spoil_file(archive, added[0])
    assert site.sync().exit_code != 0
    assert broken(site.tree, thorough=True) == []
