import os
from pathlib import Path

import pytest

from pushmirror.lab.judge import same_tree


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "other"):
        (tmp_path / name / "project/trace").mkdir(parents=True)
        for path in ("a", "project/trace/master"):
            (tmp_path / name / path).write_text("same")
            os.utime(tmp_path / name / path, (1000, 1000))
        (tmp_path / name / "link").symlink_to("a")
    return tmp_path / "one", tmp_path / "other"


def test_equal_trees_have_no_difference(trees: tuple[Path, Path]) -> None:
    assert same_tree(*trees) == []


def test_own_traces_and_flags_are_no_difference(trees: tuple[Path, Path]) -> None:
    for path in ("project/trace/me.example.org", "Archive-Update-in-Progress-me", "project/trace/_traces"):
        (trees[1] / path).write_text("mine")
    assert same_tree(*trees) == []


def test_another_time_is_a_difference(trees: tuple[Path, Path]) -> None:
    os.utime(trees[1] / "a", (1001, 1001))
    assert same_tree(*trees) == ["a: other time (1000 and 1001)"]


def test_other_content_of_the_same_size_is_a_difference(trees: tuple[Path, Path]) -> None:
    (trees[1] / "a").write_text("emas")
    assert same_tree(*trees) == ["a: other content (4 and 4 bytes)"]


def test_another_master_trace_is_a_difference(trees: tuple[Path, Path]) -> None:
    (trees[1] / "project/trace/master").unlink()
    assert same_tree(*trees) == [f"project/trace/master is only in {trees[0]}"]


def test_a_link_elsewhere_is_a_difference(trees: tuple[Path, Path]) -> None:
    (trees[1] / "link").unlink()
    (trees[1] / "link").symlink_to("b")
    assert same_tree(*trees) == ["link: leads to a, to b"]


def test_a_file_in_place_of_a_link_is_a_difference(trees: tuple[Path, Path]) -> None:
    (trees[1] / "link").unlink()
    (trees[1] / "link").write_text("same")
    assert same_tree(*trees) == ["link: of another type"]


def test_a_suite_that_is_held_back_may_differ_with_the_pool_files_of_its_own(
    trees: tuple[Path, Path],
) -> None:
    for path in ("zzz-dists/sid/Release", "dists/sid/x", "pool/old.deb"):
        (trees[1] / path).parent.mkdir(parents=True)
        (trees[1] / path).touch()
    (trees[0] / "dists").mkdir()
    (trees[0] / "zzz-dists").mkdir()
    (trees[0] / "pool").mkdir()
    assert same_tree(*trees, held=["sid"]) == []
    assert len(same_tree(*trees, held=["trixie"])) == 4
