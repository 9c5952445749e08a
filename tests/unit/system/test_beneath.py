"""What is changed below a directory, and what is not, wherever links lead."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.system import beneath as module
from pushmirror.system.beneath import Beneath


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("tree/a/b", "outside"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("tree/a/b/file", "tree/a/other", "outside/file", "outside/b"):
        (tmp_path / name).write_text(name)
    return tmp_path / "tree"


@pytest.fixture
def beneath(tree: Path) -> Beneath:
    return Beneath(tree)


#: Each way to change `link/file`, where `link` leads out.
CHANGES: dict[str, Callable[[Beneath], object]] = {
    "write": lambda one: one.write("link/file", b"changed"),
    "mark": lambda one: one.mark("link/file", b"changed"),
    "unlink": lambda one: one.unlink("link/file"),
    "rename to": lambda one: one.rename("a/other", "link/file"),
    "rename from": lambda one: one.rename("link/file", "a/other"),
    "exchange": lambda one: one.exchange("a/other", "link/file"),
    "symlink": lambda one: one.symlink("x", "link/new"),
    "change mode": lambda one: one.change_mode("link/file", 0o777),
    "make directory": lambda one: one.make_directory("link/new"),
    "make directories": lambda one: one.make_directories("link/new/deep"),
    "remove directory": lambda one: one.remove_directory("link/empty"),
    "link or copy": lambda one: one.link_or_copy(one.root / "a/other", "link/file", mtime=0),
    "link tree": lambda one: one.link_tree("a", "link/new"),
    "names": lambda one: one.names("link"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_directory_that_is_a_link_is_entered(tree: Path, beneath: Beneath, name: str) -> None:
    (tree / "link").symlink_to("../outside")
    (tree.parent / "outside/empty").mkdir()
    with pytest.raises(NotADirectoryError) as error:
        CHANGES[name](beneath)
    assert error.value.filename == f"{tree}/link"
    assert (tree.parent / "outside/file").read_text() == "outside/file"
    assert sorted(path.name for path in (tree.parent / "outside").iterdir()) == ["b", "empty", "file"]


def test_nothing_is_removed_below_a_link(tree: Path, beneath: Beneath) -> None:
    (tree / "link").symlink_to("../outside")
    beneath.unlink("link/file", missing_ok=True)
    beneath.remove_tree("link/file")
    assert beneath.lstat("link/file") is None and not beneath.is_directory("link")
    beneath.remove_tree("link")
    assert not (tree / "link").is_symlink() and (tree.parent / "outside/file").exists()


def test_a_link_in_the_last_component_leaves_for_what_is_written(tree: Path, beneath: Beneath) -> None:
    for name in ("written", "marked", "linked", "written.new"):
        (tree / name).symlink_to("../outside/file")
    beneath.write("written", b"new")
    beneath.mark("marked", b"new")
    beneath.link_or_copy(tree / "a/other", "linked", mtime=0)
    assert (tree.parent / "outside/file").read_text() == "outside/file"
    assert not any((tree / name).is_symlink() for name in ("written", "marked", "linked", "written.new"))


def test_what_is_marked_shares_its_bytes_with_nobody(tree: Path, beneath: Beneath) -> None:
    os.link(tree.parent / "outside/file", tree / "shared")
    os.mkfifo(tree / "pipe")
    for name in ("shared", "pipe"):
        beneath.mark(name, b"new")
        assert (tree / name).read_bytes() == b"new"
    assert (tree.parent / "outside/file").read_text() == "outside/file"


def test_a_directory_that_was_moved_away_stays_the_one_that_is_changed_until_all_is_forgotten(
    tree: Path, beneath: Beneath
) -> None:
    beneath.write("a/b/file", b"first")
    (tree / "a").rename(tree / "moved")
    (tree / "a").symlink_to("../outside")
    beneath.write("a/b/file", b"second")
    assert (tree / "moved/b/file").read_bytes() == b"second"
    beneath.forget_all()
    with pytest.raises(NotADirectoryError):
        beneath.write("a/b/file", b"third")


def test_a_mode_is_changed_of_what_cannot_be_read_and_of_no_link(tree: Path, beneath: Beneath) -> None:
    (tree / "a/b").chmod(0)
    beneath.change_mode("a/b", 0o755)
    assert stat.S_IMODE((tree / "a/b").stat().st_mode) == 0o755
    (tree / "link").symlink_to("../outside/file")
    before = (tree.parent / "outside/file").stat().st_mode
    with pytest.raises(OSError, match="symbolic links"):
        beneath.change_mode("link", 0o777)
    assert (tree.parent / "outside/file").stat().st_mode == before


@pytest.mark.parametrize("path", ["", "..", "a/..", "a/.", "../outside/file", "a/../../outside/file", "a//b"])
def test_only_plain_paths_are_taken(beneath: Beneath, path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        beneath.unlink(path, missing_ok=True)


def test_the_root_may_be_reached_through_a_link(tree: Path) -> None:
    (tree.parent / "named").symlink_to("tree")
    Beneath(tree.parent / "named").write("a/b/file", b"new")
    assert (tree / "a/b/file").read_bytes() == b"new"


def test_handles_are_bounded_and_closed(tree: Path) -> None:
    def handles() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()
    before = handles()
    one = Beneath(tree)
    for number in range(3 * module._MOST):
        one.make_directories(f"deep/{number}/er")
    assert before + 2 < handles() <= before + module._MOST + 2
    del one
    assert handles() == before


@pytest.mark.parametrize(("mtime", "linked"), [(1_600_000_000, True), (1_700_000_000, False)])
def test_content_is_linked_where_the_times_agree_and_copied_else(
    tmp_path: Path, mtime: int, linked: bool
) -> None:
    source, target = tmp_path / "source", tmp_path / "deep/target"
    source.write_bytes(b"content")
    os.utime(source, (1_600_000_000, 1_600_000_000))
    Beneath(tmp_path).link_or_copy(source, "deep/target", mtime=mtime)
    assert target.samefile(source) is linked
    assert target.read_bytes() == b"content" and int(target.stat().st_mtime) == mtime
    assert int(source.stat().st_mtime) == 1_600_000_000


def test_two_directories_are_swapped_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not Beneath(tmp_path).exchange("one", "two"):
        pytest.skip("this file system cannot swap names")
    assert (tmp_path / "one/two").exists() and (tmp_path / "two/one").exists()


def test_a_swap_with_what_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(FileNotFoundError):
        Beneath(tmp_path).exchange("one", "missing")


def test_a_tree_of_links_shares_its_files_and_keeps_its_links_modes_and_times(
    tree: Path, beneath: Beneath
) -> None:
    (tree / "a/link").symlink_to("b/file")
    os.utime(tree / "a/link", (1, 1), follow_symlinks=False)
    (tree / "a/b").chmod(0o751)
    beneath.link_tree("a", "copy")
    assert (tree / "copy/b/file").samefile(tree / "a/b/file")
    assert (tree / "copy/link").readlink() == Path("b/file")
    assert (tree / "copy/link").lstat().st_mtime == 1
    assert stat.S_IMODE((tree / "copy/b").stat().st_mode) == 0o751
