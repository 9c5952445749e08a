"""While upstream never rests, a loop of syncs keeps the served tree whole at every instant."""

import time
from pathlib import Path

import pytest

from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.churn import Churn
from pushmirror.lab.site import LabSite
from pushmirror.lab.watch import Watcher, broken, same_tree

LASTS_S = 20.0
FEWEST_SAMPLES = 100  # about 60 a second on an idle machine
FEWEST_UPDATES = 10  # of about 28


@pytest.fixture(params=[0, 1], ids=["by-hash goes at once", "by-hash stays for one generation"])
def archive(tmp_path: Path, request: pytest.FixtureRequest) -> LabArchive:
    return LabArchive.create(tmp_path / "archive", packages=20, keep_by_hash=request.param)


def test_a_mirror_of_an_archive_that_never_rests_is_never_broken(archive: LabArchive, site: LabSite) -> None:
    site.sync().check()
    with Watcher(site.tree) as watcher:
        codes = _syncs_while_it_changes(archive, site)
    print(f"{watcher.samples} samples, {watcher.broken} broken; exit codes of the syncs: {codes}")
    assert (watcher.broken, watcher.messages) == (0, ())
    assert watcher.samples >= FEWEST_SAMPLES
    assert set(codes) <= {Exit.OK, Exit.BEHIND}
    site.configure(grace="0s")
    site.sync("--allow-mass-delete").check()  # all that those generations left behind, at once
    assert same_tree(archive.path, site.tree) == []
    assert broken(site.tree, thorough=True) == []


def _syncs_while_it_changes(archive: LabArchive, site: LabSite) -> list[int]:
    until, codes = time.monotonic() + LASTS_S, list[int]()
    with Churn(archive) as churn:
        while time.monotonic() < until:
            codes.append(site.sync().exit_code)
    assert churn.updates >= FEWEST_UPDATES
    return codes
