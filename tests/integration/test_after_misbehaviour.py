"""An upstream that was wrong and is right again needs nobody's help: what it left here is no obstacle."""

import shutil
from pathlib import Path

import pytest

from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.indices import SUITES
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from upstreams import BY_EACH_STRATEGY, after_a_change, archive_for, see_everything


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(strategy, tmp_path / "archive", packages=8, suites=SUITES[:2], key=lab_key)


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
@pytest.mark.parametrize("kind", ["by-hash", "pool"])
def test_a_directory_that_was_in_the_place_of_a_new_file_does_not_keep_it_out(
    archive: LabArchive, site: LabSite, strategy: Strategy, kind: str
) -> None:
    site.sync().check()
    archive.update()
    new = next(
        path
        for path in sorted(archive.path.rglob("*"))
        if path.is_file()
        and f"/{kind}/" in str(path)
        and not (site.tree / path.relative_to(archive.path)).exists()
    )
    kept = new.with_name("kept")
    new.rename(kept)
    new.mkdir()
    (new / "file").write_text("something else")
    after_a_change(archive)
    assert site.sync().exit_code in {Exit.OK, Exit.STAGE1, Exit.STAGE2, Exit.HELD}  # OK: by another name
    shutil.rmtree(new)
    kept.rename(new)
    after_a_change(archive)
    site.configure(grace="0s")
    site.sync("--allow-mass-delete").check()
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == [] and broken(site.tree, thorough=True) == []


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
@pytest.mark.parametrize("target", [".", "..", "nothing", "SHA256/nothing", "../README"])
def test_a_directory_of_new_by_hash_files_may_have_been_a_link_that_leads_to_none(
    archive: LabArchive, site: LabSite, strategy: Strategy, target: str
) -> None:
    site.sync().check()
    archive.update(installer=True)
    installer = archive.path / "dists/sid/main/installer-amd64"
    directory = (installer / (installer / "current").readlink()) / "images" / "by-hash"
    kept = directory.rename(archive.path.parent / "kept")
    directory.symlink_to(target)
    after_a_change(archive)
    assert site.sync().exit_code in {Exit.OK, Exit.STAGE1, Exit.STAGE2, Exit.HELD}
    directory.unlink()
    kept.rename(directory)
    archive.update()
    site.sync().check()
    assert broken(site.tree, thorough=True) == []
    site.configure(grace="0s")
    archive.update()
    site.sync("--allow-mass-delete").check()  # what the first of them carried for older states
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == [] and broken(site.tree, thorough=True) == []


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
@pytest.mark.parametrize("name", ["by-hash", "by-hash/SHA256"])
@pytest.mark.parametrize("target", ["nothing", "."])
def test_what_was_carried_out_of_by_hash_stays_there_when_it_is_a_directory_again(
    archive: LabArchive, site: LabSite, strategy: Strategy, name: str, target: str
) -> None:
    site.sync().check()
    directory = archive.path / "dists/sid/main" / name
    kept = directory.rename(archive.path.parent / "kept")
    directory.symlink_to(target)
    after_a_change(archive)
    assert site.sync("--strategy", "full").exit_code in {Exit.OK, Exit.STAGE1, Exit.STAGE2, Exit.HELD}
    directory.unlink()
    kept.rename(directory)
    archive.update(add=1)  # most indices of sid stay as they are: their by-hash files are here already
    site.sync().check()
    assert broken(site.tree, thorough=True) == []
    see_everything(site, strategy)
    assert broken(site.tree, thorough=True) == []
