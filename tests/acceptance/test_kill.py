"""kill -9 at any moment of a sync: the served tree stays whole, and the next run needs no help."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from acceptance.processes import alive, descendants, kill, program
from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.indices import SUITES
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.services import wait_until
from pushmirror.lab.signing import LabKey
from pushmirror.lab.site import ARCHIVE, LabSite
from pushmirror.lab.watch import Watcher
from support.damage import set_broken
from trees import mounted_tmpfs
from upstreams import BY_EACH_STRATEGY, archive_for, see_everything, share_by

KILLS = 10  # by each strategy
KILLS_WHILE_PUBLISHING = 4
NAMES = ("/Release", "/InRelease", "/Release.gpg", "/Packages.xz", "/Sources.gz")
LONGEST_S = 30.0  # of one run
BY_HASH = SUITES[:2]


@pytest.fixture(params=[BY_HASH], ids=["by-hash"])
def archive(
    tmp_path: Path, request: pytest.FixtureRequest, strategy: Strategy, lab_key: LabKey
) -> LabArchive:
    return archive_for(strategy, tmp_path / "archive", packages=15, suites=request.param, key=lab_key)


@pytest.fixture
def watcher(site: LabSite) -> Iterator[Watcher]:
    site.sync().check()
    with Watcher(site.tree) as watcher:
        yield watcher


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
def test_a_sync_killed_at_random_moments_never_breaks_the_tree(
    archive: LabArchive, site: LabSite, watcher: Watcher, strategy: Strategy
) -> None:
    random = Random(strategy)  # noqa: S311  the same moments each time, other ones for each strategy
    archive.update()
    whole_s = site.sync().check().seconds
    for number in range(KILLS):
        archive.update()
        _killed_after(site, random.uniform(0.15, 1.0) * whole_s, with_children=random.random() < 0.6)
        assert broken(site.tree) == []
        if number % 4 == 0:  # else the next kill meets what this one left behind
            site.sync().check()
    assert share_by(site, strategy) > 0.5
    _converges(archive, site, watcher, strategy)


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
@pytest.mark.parametrize("archive", [SUITES], indirect=True, ids=["one without by-hash"])
def test_a_sync_killed_while_it_publishes_never_breaks_the_tree(
    archive: LabArchive, site: LabSite, watcher: Watcher, strategy: Strategy
) -> None:
    _kill_while_publishing(archive, site, strategy)
    assert share_by(site, strategy) > (0.3 if strategy is Strategy.INDEX else 0.5)  # unfinished: full is next
    _converges(archive, site, watcher, strategy)


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
def test_a_sync_killed_beside_a_suite_that_is_broken_off_and_on_never_breaks_the_tree(
    archive: LabArchive, site: LabSite, watcher: Watcher, strategy: Strategy
) -> None:
    random = Random(strategy)  # noqa: S311  as above
    archive.update()
    whole_s = site.sync().check().seconds
    for is_broken in (True, True, False, True, False):
        set_broken(archive, "trixie", is_broken)
        archive.update()
        _killed_after(site, random.uniform(0.15, 1.0) * whole_s, with_children=random.random() < 0.6)
        assert broken(site.tree) == []
        if random.random() < 0.5:
            assert site.sync().exit_code == (Exit.HELD if is_broken else Exit.OK)
    _converges(archive, site, watcher, strategy)


@pytest.mark.parametrize(("strategy", "mounted"), [(Strategy.FULL, "pool"), (Strategy.MANIFEST, "dists")])
def test_a_sync_killed_in_a_tree_on_two_file_systems_never_breaks_it(
    archive: LabArchive, site: LabSite, strategy: Strategy, mounted: str
) -> None:
    random = Random(mounted)  # noqa: S311  as above
    site.tree.mkdir()
    with mounted_tmpfs(site.tree / mounted, "64m"):
        _killed_after(site, random.uniform(0.2, 0.8), with_children=True)
        whole_s = site.sync().check().seconds
        with Watcher(site.tree) as watcher:
            for _ in range(3):
                archive.update()
                _killed_after(site, random.uniform(0.3, 1.0) * whole_s, with_children=True)
                assert broken(site.tree) == []
            _converges(archive, site, watcher, strategy)


@pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
@pytest.mark.parametrize("replaced", [("Release",), ("Release", "Release.gpg")])
def test_a_publishing_that_ended_between_two_release_files_is_completed_by_the_next_run(
    archive: LabArchive, site: LabSite, replaced: tuple[str, ...], strategy: Strategy
) -> None:
    site.sync().check()
    archive.update()
    site.sync("--stage", "1").check()
    for name in replaced:
        (site.tree / "dists/sid" / name).write_bytes((archive.path / "dists/sid" / name).read_bytes())
    site.configure(grace="0s")
    site.sync().check()
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []


@pytest.mark.parametrize("strategy", [Strategy.FULL])
def test_the_rsync_of_a_killed_run_does_not_work_beside_the_next(
    archive: LabArchive, site: LabSite, tmp_path: Path
) -> None:
    site.sync().check()
    (archive.path / "doc/large").write_bytes(Random(4).randbytes(1_200_000))  # noqa: S311  cannot be packed
    site.configure(bandwidth_limit="300K", grace="0s")
    with site.running("sync", ARCHIVE) as child:
        assert wait_until(lambda: any(site.tree.glob(".~tmp~/pushmirror/new/doc/*large*")))
        left_behind = descendants(child.pid)
        kill(child.pid, with_children=False)
    site.configure(
        bandwidth_limit=None, hooks={"before_sync": _alive_hook(tmp_path / "overlap", left_behind)}
    )
    site.sync().check()
    assert left_behind and (tmp_path / "overlap").read_text() == ""
    assert same_tree(archive.path, site.tree) == []
    assert alive(left_behind) == []


@pytest.mark.parametrize("strategy", [Strategy.MANIFEST])
def test_an_rsync_that_hangs_does_not_outlive_the_run_that_started_it(
    archive: LabArchive, site: LabSite, tmp_path: Path
) -> None:
    hanging = tmp_path / "rsync"
    hanging.write_text('#!/bin/sh\ncase "$*" in *--files-from*) exec sleep 60 ;; esac\nexec rsync "$@"\n')
    hanging.chmod(0o755)
    site.sync().check()
    archive.update()
    site.configure(rsync=str(hanging), grace="0s")
    with site.running("sync", ARCHIVE) as child:
        assert wait_until(lambda: any(program(pid)[:1] == ["sleep"] for pid in descendants(child.pid)))
        kill(child.pid, with_children=False)
    site.configure(rsync=None)
    assert site.sync().check().seconds < LONGEST_S
    assert same_tree(archive.path, site.tree) == []


def _alive_hook(file: Path, pids: list[int]) -> list[str]:
    """A hook that writes down which of these processes still live."""
    script = (
        'file=$1; shift; for pid; do grep -qsz . "/proc/$pid/cmdline" && echo "$pid"; done >"$file"; true'
    )
    return ["sh", "-c", script, "sh", str(file), *map(str, pids)]


def _kill_while_publishing(archive: LabArchive, site: LabSite, strategy: Strategy) -> None:
    """Kill a run as soon as a certain name has become upstream's."""
    random = Random(strategy)  # noqa: S311  the same names each time, other ones for each strategy
    endings = random.sample(NAMES, k=len(NAMES))
    hits, broken_after = 0, list[str]()
    for number in range(KILLS_WHILE_PUBLISHING):
        before = _identities(archive.path)
        archive.update(add=10, replace=5, remove=10)
        after = _identities(archive.path)
        changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
        name = random.choice(sorted(name for name in changed if name.endswith(endings[number % len(NAMES)])))
        hits += _killed_when_published(site, site.tree / name)
        broken_after += [f"killed after {name}: {problem}" for problem in broken(site.tree)[:1]]
        site.sync().check()
    print(f"{hits} kills while publishing, {len(broken_after)} left the tree broken: {broken_after}")
    assert broken_after == []
    assert hits >= KILLS_WHILE_PUBLISHING // 2


def _identities(tree: Path) -> dict[str, int]:
    return {str(p.relative_to(tree)): p.stat().st_ino for p in tree.rglob("*") if p.is_file()}


def _killed_after(site: LabSite, seconds: float, *, with_children: bool) -> None:
    _killed(site, lambda: time.sleep(seconds), with_children=with_children)


def _killed_when_published(site: LabSite, path: Path) -> bool:
    """Whether it was still running when it was killed, just after `path` had changed."""
    was = path.stat().st_ino

    def watch() -> None:
        until = time.monotonic() + LONGEST_S
        while os.stat(path).st_ino == was and time.monotonic() < until:  # noqa: PTH116  as often as can be
            pass

    return _killed(site, watch, with_children=True)


def _killed(site: LabSite, until: Callable[[], None], *, with_children: bool) -> bool:
    with site.running("sync", ARCHIVE) as child:
        until()
        running = child.poll() is None
        kill(child.pid, with_children=with_children)
        assert wait_until(lambda: child.poll() is not None)
    return running


def _converges(archive: LabArchive, site: LabSite, watcher: Watcher, strategy: Strategy) -> None:
    print(f"{watcher.samples} samples, {watcher.broken} broken")
    assert (watcher.broken, watcher.messages) == (0, ())
    site.configure(grace="0s")
    site.sync("--allow-mass-delete").check()  # all that the generations left behind, at once
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []
    assert broken(site.tree, thorough=True) == []
    assert [path.name for path in site.tree.iterdir() if path.name.startswith((".", "Archive-Update"))] == []
