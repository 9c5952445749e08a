"""The lab's release day: what an archive is after each of its steps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.lab.archive import LabArchive
from pushmirror.lab.dists import Layout
from pushmirror.lab.judge import broken, suites_in
from support.churn import Churn
from support.published import pool_files_of, release_texts
from support.release_day import before_release, change_kinds, release


@pytest.fixture(params=Layout)
def archive(tmp_path: Path, request: pytest.FixtureRequest) -> LabArchive:
    return before_release(tmp_path / "archive", layout=request.param)


def until(steps: Iterator[str], name: str) -> None:
    while next(steps) != name:
        pass


def links(archive: LabArchive) -> dict[str, str]:
    paths = (archive.path / "dists").iterdir()
    return {path.name: str(path.readlink()) for path in paths if path.is_symlink()}


def fields(archive: LabArchive, codename: str) -> dict[str, str]:
    lines = release_texts(archive)[codename].splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def test_the_archive_is_whole_after_each_step(archive: LabArchive) -> None:
    assert broken(archive.path, thorough=True, pdiffs=True) == []
    for step in release(archive):
        assert (step, broken(archive.path, thorough=True, pdiffs=True)) == (step, [])


def test_in_the_freeze_testing_stays_and_its_proposed_updates_do_not(archive: LabArchive) -> None:
    before = release_texts(archive)
    until(release(archive), "freeze")
    now = release_texts(archive)
    assert _listed(now["trixie"]) == _listed(before["trixie"])
    assert _listed(now["trixie-proposed-updates"]) != _listed(before["trixie-proposed-updates"])


def test_on_release_day_the_names_turn(archive: LabArchive) -> None:
    until(release(archive), "release")
    turned = {"stable": "trixie", "oldstable": "bookworm", "oldoldstable": "bullseye", "testing": "forky"}
    assert turned.items() <= links(archive).items()
    assert (fields(archive, "trixie")["Suite"], fields(archive, "forky")["Suite"]) == ("stable", "testing")


def test_on_release_day_a_directory_becomes_a_link_a_link_a_directory_and_both_go_back(
    archive: LabArchive,
) -> None:
    steps = release(archive)
    assert links(archive)["proposed-updates"] == "bookworm-proposed-updates"
    until(steps, "release")
    assert links(archive)["trixie-proposed-updates"] == "proposed-updates"
    assert "proposed-updates" not in links(archive)
    until(steps, "settled")
    assert links(archive)["proposed-updates"] == "trixie-proposed-updates"


def test_a_suite_that_is_archived_goes_with_its_pool_files(archive: LabArchive) -> None:
    steps = release(archive)
    until(steps, "settled")
    before = set(archive.pool_files)
    until(steps, "archived")
    assert not any((archive.path / top / "bullseye").exists() for top in ("dists", "zzz-dists"))
    assert "oldoldstable" not in links(archive)
    assert len(before - set(archive.pool_files)) > 10
    assert not any((archive.path / path).exists() for path in before - set(archive.pool_files))


def test_a_point_release_brings_the_proposed_updates_and_an_installer(archive: LabArchive) -> None:
    steps = release(archive)
    until(steps, "archived")
    proposed, current = _packages(archive, "trixie-proposed-updates"), _installer(archive)
    until(steps, "point release")
    assert proposed and proposed <= _packages(archive, "trixie")
    assert _packages(archive, "trixie-proposed-updates") == set()
    assert _installer(archive) != current
    assert fields(archive, "trixie")["Version"] == "13.1"


def test_the_archive_is_whole_after_each_change_of_kinds(archive: LabArchive) -> None:
    kinds = []
    for step in change_kinds(archive):
        assert (step, broken(archive.path, thorough=True)) == (step, [])
        kinds.append(((archive.path / "dists").is_symlink(), links(archive).get("bullseye")))
        assert any("dists/bullseye" in names for names in suites_in(archive.path).values())
    assert kinds[:2] == [(False, "moved"), (False, None)]
    assert [is_link for is_link, _ in kinds[2:]] == (
        [True, True, True, False] if archive.layout is Layout.SIMPLE else []
    )


def test_an_archive_that_never_rests_goes_through_the_steps_first(archive: LabArchive) -> None:
    with Churn(archive, every_s=0.0, steps=release(archive)) as churn:
        while churn.updates < 8:
            pass
    assert links(archive)["stable"] == "trixie"
    assert broken(archive.path) == []


def _listed(release_text: str) -> str:
    return release_text.partition("SHA256:\n")[2]


def _packages(archive: LabArchive, suite: str) -> set[str]:
    return {path for path in pool_files_of(archive, suite) if path.endswith(".dsc")}


def _installer(archive: LabArchive) -> str:
    return str((archive.path / "dists/trixie/main/installer-amd64/current").readlink())
