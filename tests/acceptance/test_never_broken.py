"""While upstream never rests, a loop of syncs keeps the served tree whole at every instant."""

import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import LabSite
from pushmirror.lab.watch import Watcher
from support.churn import Churn, flipping
from support.damage import break_suite, mend_suite
from support.published import generation_files
from upstreams import BY_EACH_STRATEGY, after_a_change, archive_for, see_everything, share_by

BURSTS = 2  # of changes, with a rest after each: on a slow machine, nothing can be published within one
BURST_S = 5.0
FEWEST_SAMPLES = 100  # about 60 a second on an idle machine
FEWEST_UPDATES = 3  # in a burst, of about 7
KEEP_BY_HASH = {Strategy.FULL: 1, Strategy.INDEX: 1, Strategy.MANIFEST: 0}  # generations; 0: goes at once


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, lab_key: LabKey) -> LabArchive:
    return archive_for(
        strategy, tmp_path / "archive", packages=20, keep_by_hash=KEEP_BY_HASH[strategy], key=lab_key
    )


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
def test_a_mirror_of_an_archive_that_never_rests_is_never_broken(
    archive: LabArchive, site: LabSite, strategy: Strategy
) -> None:
    site.sync().check()
    with Watcher(site.tree) as watcher:
        codes = [code for _ in range(BURSTS) for code in _syncs_while_it_changes(archive, site)]
    published = [run["stats"].get("published", 0) for run in site.json("history", "debian")]
    print(
        f"{watcher.samples} samples, {watcher.broken} broken; exit codes {codes}, published {published}",
        *watcher.messages[:5],
    )
    assert (watcher.broken, watcher.messages) == (0, ())
    assert watcher.samples >= FEWEST_SAMPLES
    assert set(codes) <= {Exit.OK, Exit.BEHIND}
    assert sum(map(bool, published)) > BURSTS  # else there was nothing to watch
    assert share_by(site, strategy) > 0.5
    site.configure(grace="0s")
    site.sync("--allow-mass-delete").check()  # all that those generations left behind, at once
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []
    assert broken(site.tree, thorough=True) == []


@pytest.mark.parametrize(
    ("flips", "strategy"),
    [(False, Strategy.FULL), (False, Strategy.MANIFEST), (True, Strategy.INDEX), (True, Strategy.MANIFEST)],
)
def test_a_mirror_of_an_archive_with_a_broken_suite_is_never_broken_and_the_others_are_current(
    archive: LabArchive, site: LabSite, strategy: Strategy, flips: bool
) -> None:
    site.sync().check()
    break_suite(archive, "trixie")
    after_a_change(archive)
    with Watcher(site.tree) as watcher:
        codes = _syncs_in_a_burst(archive, site, flipping(archive, "trixie") if flips else ())
        break_suite(archive, "trixie")
        after_a_change(archive)
        codes.append(site.sync().exit_code)
    print(f"{watcher.samples} samples, {watcher.broken} broken; exit codes {codes}", *watcher.messages[:5])
    assert (watcher.broken, watcher.messages) == (0, ())
    assert set(codes) <= {Exit.OK, Exit.BEHIND, Exit.HELD} and codes[-1] == Exit.HELD
    assert all(
        ((site.tree / path).read_bytes() == text) == ("/trixie/" not in path)
        for path, text in generation_files(archive).items()
    )
    mend_suite(archive, "trixie")
    after_a_change(archive)
    site.configure(grace="0s")
    site.sync("--allow-mass-delete").check()
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []
    assert broken(site.tree, thorough=True) == []


def _syncs_while_it_changes(archive: LabArchive, site: LabSite) -> list[int]:
    codes = _syncs_in_a_burst(archive, site)
    site.sync().check()  # now that it rests
    return codes


def _syncs_in_a_burst(archive: LabArchive, site: LabSite, steps: Iterable[str] = ()) -> list[int]:
    until, codes = time.monotonic() + BURST_S, list[int]()
    with Churn(archive, steps=steps) as churn:
        while time.monotonic() < until:
            codes.append(site.sync().exit_code)
    assert churn.updates >= FEWEST_UPDATES
    return codes
