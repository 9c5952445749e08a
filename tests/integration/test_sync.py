"""A sync from a password-protected daemon, through the command line, by each strategy."""

import pytest

from pushmirror.config.model import Strategy
from pushmirror.errors import Exit
from pushmirror.lab.archive import LabArchive
from pushmirror.lab.judge import broken, same_tree
from pushmirror.lab.site import LabSite
from support.damage import lose_file
from upstreams import BY_EACH_STRATEGY, after_a_change, see_everything, share_by

by_each_strategy = pytest.mark.parametrize("strategy", BY_EACH_STRATEGY)
by_what_sees_every_name = pytest.mark.parametrize("strategy", [Strategy.FULL, Strategy.MANIFEST])


@by_each_strategy
def test_a_first_sync_makes_the_tree_upstreams(archive: LabArchive, site: LabSite) -> None:
    site.sync().check()
    assert same_tree(archive.path, site.tree) == []
    assert broken(site.tree, thorough=True) == []


@by_each_strategy
def test_a_sync_follows_a_change_and_keeps_what_replaced_indices_refer_to(
    archive: LabArchive, site: LabSite
) -> None:
    site.sync().check()
    removed = archive.update().removed
    site.sync().check()
    assert broken(site.tree, thorough=True) == []
    assert all((site.tree / path).exists() for path in removed)


@by_each_strategy
def test_without_grace_the_tree_is_upstreams_after_a_change(
    archive: LabArchive, site: LabSite, strategy: Strategy
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    removed = archive.update().removed
    site.sync().check()
    assert share_by(site, strategy) >= 0.5
    assert not any((site.tree / path).exists() for path in removed)
    see_everything(site, strategy)
    assert same_tree(archive.path, site.tree) == []


@by_each_strategy
def test_a_sync_without_a_change_fetches_and_publishes_nothing(site: LabSite) -> None:
    site.sync().check()
    trace = (site.tree / "project/trace" / site.name).read_bytes()
    site.sync().check()
    numbers = site.json("history", "debian")[0]["stats"]
    assert (numbers["files_fetched"], numbers["published"], numbers["deleted"]) == (0, 0, 0)
    assert (site.tree / "project/trace" / site.name).read_bytes() == trace


@by_what_sees_every_name
def test_an_installer_link_that_turns_before_its_release_is_not_published(
    archive: LabArchive, site: LabSite
) -> None:
    site.sync().check()
    installer = archive.path / "dists/sid/main/installer-amd64"
    (installer / "29990101/images").mkdir(parents=True)
    (installer / "29990101/images/SHA256SUMS").write_text(f"{'0' * 64}  ./x\n")
    (installer / "current").unlink()
    (installer / "current").symlink_to("29990101")
    after_a_change(archive)
    assert site.sync().exit_code == Exit.HELD
    assert broken(site.tree, thorough=True) == []


@by_what_sees_every_name
def test_a_file_that_upstream_lost_but_still_names_stays_and_is_reported(
    archive: LabArchive, site: LabSite
) -> None:
    site.configure(grace="0s")
    site.sync().check()
    path = lose_file(archive)
    after_a_change(archive)
    result = site.sync().check()
    assert (site.tree / path).exists()
    assert path in result.errors and "missing or different upstream" in result.errors
