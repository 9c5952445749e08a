"""The work area: what outlives a run, and what never leaves it."""

import hashlib
from pathlib import Path

import pytest

from pushmirror.tree.work_area import WorkArea


@pytest.fixture
def area(tmp_path: Path) -> WorkArea:
    area = WorkArea(tmp_path)
    area.open()
    return area


def put(area: WorkArea, path: str) -> None:
    (area.new / path).parent.mkdir(parents=True, exist_ok=True)
    (area.new / path).write_text(path)


def test_nobody_else_can_look_into_the_area(area: WorkArea, tmp_path: Path) -> None:
    assert (tmp_path / ".~tmp~").stat().st_mode & 0o077 == 0
    assert area.root.stat().st_mode & 0o077 == 0


def test_an_area_that_is_done_with_leaves_nothing(area: WorkArea, tmp_path: Path) -> None:
    put(area, "pool/a")
    area.close(keep_new=False)
    assert not list(tmp_path.iterdir())


def test_fetched_files_outlive_an_interrupted_run(area: WorkArea, tmp_path: Path) -> None:
    put(area, "pool/a")
    area.close(keep_new=True)
    again = WorkArea(tmp_path)
    again.open()
    assert again.fetched("pool/a")


def test_landed_files_are_remembered_beyond_an_interrupted_run(area: WorkArea, tmp_path: Path) -> None:
    area.note_landed(["pool/a", "pool/\udce9"])
    put(area, "pool/b")
    area.close(keep_new=True)
    landed = WorkArea(tmp_path).landed()
    assert len(landed) == 2 and "pool/a" in landed and "pool/\udce9" in landed


def test_landed_files_are_remembered_though_nothing_else_waits(area: WorkArea, tmp_path: Path) -> None:
    area.note_landed(["pool/a"])
    area.close(keep_new=True)
    assert "pool/a" in WorkArea(tmp_path).landed()


def test_a_record_that_was_cut_short_loses_only_the_move_that_never_began(area: WorkArea) -> None:
    area.note_landed(["pool/a"])
    with (area.root / "landed").open("a") as file:
        file.write("hal")
    assert len(area.landed()) == 1
    area.note_landed(["pool/b"])
    assert all(path in area.landed() for path in ("pool/a", "pool/b"))


def test_landed_files_are_forgotten_when_they_are_vouched_for(area: WorkArea) -> None:
    area.note_landed(["pool/a"])
    area.forget_landed()
    assert len(area.landed()) == 0


def test_only_regular_files_are_taken(area: WorkArea, tmp_path: Path) -> None:
    put(area, "pool/file")
    (area.new / "pool/link").symlink_to("file")
    (area.new / "pool/directory").mkdir()
    assert area.fetched("pool/file")
    assert not any(area.fetched(path) for path in ("pool/link", "pool/directory", "pool/none", "none/file"))


def test_files_behind_a_link_are_not_taken(area: WorkArea, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("not fetched")
    (area.new / "pool").symlink_to(tmp_path / "outside")
    assert not area.fetched("pool/file")
    assert not area.fetched("../pin/file")


def test_the_hash_of_a_fetched_file_follows_its_content(area: WorkArea) -> None:
    put(area, "pool/a")
    before = area.sha256_of("pool/a")
    put(area, "pool/b")
    (area.new / "pool/b").replace(area.new / "pool/a")
    assert before != area.sha256_of("pool/a") == hashlib.sha256(b"pool/b").hexdigest()
    assert area.sha256_of("pool/none") is None
