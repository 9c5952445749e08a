"""Through a whole Debian release, each of its days one publish, a mirror is current and never broken."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from pushmirror.config.model import Strategy
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Layout
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.site import LabSite
from pushmirror.lab.watch import Watcher
from support.published import generation_files
from support.release_day import ARCHIVED, before_release, change_kinds, release
from upstreams import KINDS, see_everything

Steps = Callable[[LabArchive], Iterator[str]]
GONE = frozenset(f"dists/{name}/InRelease" for name in (*ARCHIVED, "moved"))


ON = [*product(Layout, (Strategy.FULL, Strategy.INDEX, Strategy.MANIFEST))]
ON.remove((Layout.SIMPLE, Strategy.INDEX))  # nothing that Debian's layout has not, too


@pytest.fixture
def archive(tmp_path: Path, strategy: Strategy, layout: Layout) -> LabArchive:
    create = KINDS.get(strategy, LabArchive).create
    return before_release(tmp_path / "archive", create=create, layout=layout)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(("layout", "strategy"), ON)
@pytest.mark.parametrize("steps", [release, change_kinds])
def test_a_mirror_is_current_after_each_step_and_never_broken(
    archive: LabArchive, site: LabSite, strategy: Strategy, steps: Steps
) -> None:
    site.sync().check()
    with Watcher(site.tree, allowed=GONE) as watcher:
        for step in steps(archive):
            site.sync().check()
            served = {path: (site.tree / path).read_bytes() for path in generation_files(archive)}
            assert (step, served) == (step, generation_files(archive))
    assert (watcher.broken, watcher.messages) == (0, ())
    site.configure(grace="0s")
    site.sync("--allow-mass-delete").check()
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []
    assert broken(site.tree, thorough=True) == []
