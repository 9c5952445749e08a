"""A strategy that somebody asks for, and where it is told which one was taken."""

import shutil

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.site import LabSite


def test_a_run_takes_the_strategy_that_was_asked_for_and_says_so_everywhere(
    site: LabSite, archive: LabArchive
) -> None:
    shutil.copytree(archive.path, site.tree, symlinks=True)  # faster than a sync
    site.configure(strategy="manifest")
    run = site.json("sync", "debian", "--strategy", "full")
    assert (run["strategy"], bool(run["why"])) == ("full", True)
    by = f"by full: {run['why']}"
    assert by in site.run("history").output.decode()
    assert f"strategy full: {run['why']}" in site.run("log", "last").output.decode()
    (archive_status,) = site.json("status")
    assert archive_status["strategy_text"] == by
    assert "\nStrategy: full\n" in (site.tree / "project/trace" / site.name).read_text()


def test_the_strategy_of_one_run_is_not_that_of_the_next(site: LabSite, archive: LabArchive) -> None:
    shutil.copytree(archive.path, site.tree, symlinks=True)
    site.configure(strategy="full")
    site.sync("--strategy", "manifest").check()  # which upstream does not offer
    site.sync().check()
    last, asked = site.json("history")
    assert "manifest" in asked["why"] and "manifest" not in last["why"]
