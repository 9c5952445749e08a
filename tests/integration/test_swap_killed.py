"""kill -9 while a suite of Debian's layout is swapped, whose Release files are links to another directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crashing import Run, Runner
from pushmirror.config.model import Archive, Strategy
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.indices import SUITES
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE
from support.rsync_daemon import RsyncDaemon
from upstreams import OwnedArchive, paths_in

SID = r"/(zzz-)?dists/sid(/(InRelease|Release|Release\.gpg))?$"
FEWEST = 7  # the swap, three files in zzz-dists and three links to them


@pytest.fixture
def archive(tmp_path: Path, lab_key: LabKey) -> LabArchive:
    return OwnedArchive.create(
        tmp_path / "archive", packages=2, suites=SUITES[1:2], keep_by_hash=1, key=lab_key
    )


@pytest.fixture
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.mark.parametrize("strategy", [Strategy.FULL, Strategy.MANIFEST])  # a swap is the same for index
def test_a_swap_killed_before_any_of_its_changes_breaks_nothing_and_is_completed_by_the_next_run(
    archive: LabArchive, daemon: RsyncDaemon, runner: Runner, tmp_path: Path, strategy: Strategy
) -> None:
    assert isinstance(archive, OwnedArchive)
    daemon.add_module(ARCHIVE, archive.path)
    daemon.add_module(f"{ARCHIVE}.manifest", archive.manifest)
    for name in ("site", "site/tree"):
        (tmp_path / name).mkdir()
    keys = {"path": tmp_path / "site/tree", "upstream": daemon.url(ARCHIVE), "grace": "0s"}
    site = Archive.model_validate({"name": ARCHIVE, **keys})
    run = Run(site, paths_in(tmp_path / "site"), strategy)
    assert runner.run(run).error == ""
    kills, crashed = 0, True
    while crashed:
        archive.update(installer=True)  # `current` moves: the suite is swapped
        ended = runner.run(Run(site, run.paths, strategy, ends_before=kills + 1, about=SID))
        assert (ended.error, ended.broken, broken(site.path)) == ("", (), [])
        crashed = ended.crashed
        kills += crashed
        again = runner.run(run)
        assert (again.error, again.broken) == ("", ())
        assert same_tree(archive.path, site.path) == []
    assert kills >= FEWEST
