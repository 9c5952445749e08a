"""An archive of ten thousand files through a password: all of it arrives, and so does what changes."""

import pytest

from pushmirror.config.model import Strategy
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.site import LabSite
from upstreams import BY_EACH_STRATEGY, OwnedArchive, see_everything, share_by

FILES = 10_000


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> LabArchive:
    """One for all strategies: it takes longer to make than to mirror."""
    return OwnedArchive.create(tmp_path_factory.mktemp("archive"), packages=2200, file_size=200)


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
def test_an_archive_of_ten_thousand_files_becomes_byte_identical_and_stays_so(
    archive: LabArchive, site: LabSite, strategy: Strategy
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    assert len(archive.pool_files) >= FILES
    assert same_tree(archive.path, site.tree) == []
    archive.update(add=50, replace=50, remove=50)
    site.sync().check()
    assert share_by(site, strategy) >= 0.5
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []
    assert broken(site.tree, thorough=True) == []
