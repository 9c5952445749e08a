"""Bytes that flip in what can be made anew: the run in which they are met makes it anew, and goes on."""

import shutil
from pathlib import Path
from random import Random

import pytest

from pushmirror.config.model import Strategy
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from upstreams import archive_for

FLIPS = 6  # of each file
FILES = {"ledger": "closures/debian/ledger.sqlite", "inventory": "inventories/debian.sqlite"}


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(strategy, tmp_path / "archive", packages=4, key=lab_key)


def flip(file: Path, random: Random) -> None:
    """Change some bits, as a disk does that forgets; not in the header: SQLite notices that itself."""
    data = bytearray(file.read_bytes())
    for _ in range(random.choice([1, 8, 64])):
        data[random.randrange(100, len(data))] ^= 1 << random.randrange(8)
    file.write_bytes(data)


@pytest.mark.parametrize("strategy", [Strategy.MANIFEST])
@pytest.mark.parametrize("name", FILES)
def test_bytes_that_flip_in_what_can_be_made_anew_cost_one_run_nothing_but_time(
    archive: LabArchive, site: LabSite, tmp_path: Path, name: str
) -> None:
    random = Random(name)  # noqa: S311  the same bytes each time
    site.configure(grace="0s")
    site.sync().check()
    kept = shutil.copytree(site.state, tmp_path / "kept")
    tree = shutil.copytree(site.tree, tmp_path / "served", symlinks=True)
    archive.update()
    for _ in range(FLIPS):
        for saved, place in ((kept, site.state), (tree, site.tree)):
            shutil.rmtree(place)
            shutil.copytree(saved, place, symlinks=True)
        flip(site.state / FILES[name], random)
        site.sync("--allow-mass-delete").check()
        assert broken(site.tree) == []
        site.sync("--strategy", "full", "--allow-mass-delete").check()
        assert broken(site.tree, thorough=True) == []
        assert lacking(archive, site) == []


def lacking(archive: LabArchive, site: LabSite) -> list[str]:
    """What upstream has and the mirror has not; more may stay until the next generation."""
    return [found for found in same_tree(archive.path, site.tree) if f"is only in {site.tree}" not in found]
