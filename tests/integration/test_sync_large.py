"""An archive of ten thousand files through a password: all of it arrives, and so does what changes."""

import time
from pathlib import Path

import pytest

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.site import LabSite
from pushmirror.lab.watch import broken, same_tree

FILES = 10_000
LIMIT_S = 40.0


@pytest.fixture
def archive(tmp_path: Path) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=2200, file_size=200)


def test_an_archive_of_ten_thousand_files_becomes_byte_identical_and_stays_so(
    archive: LabArchive, site: LabSite
) -> None:
    started = time.monotonic()
    site.configure(grace="0s")
    site.sync().check()
    assert len(archive.pool_files) >= FILES
    assert same_tree(archive.path, site.tree) == []
    archive.update(add=50, replace=50, remove=50)
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []
    assert broken(site.tree, thorough=True) == []
    assert time.monotonic() - started < LIMIT_S
