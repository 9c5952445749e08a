"""Locks that are the kernel's: gone when their holder is, whoever that was."""

import sys
from pathlib import Path

import pytest

from pushmirror.errors import PushmirrorError
from pushmirror.lab.services import wait_until
from pushmirror.system.locks import locked
from pushmirror.system.process import background

HOLD = """
import sys, time
from pathlib import Path
from pushmirror.system.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_excludes_another_holder_until_it_is_let_go(tmp_path: Path) -> None:
    with locked(tmp_path) as first, locked(tmp_path, wait=False) as second:
        assert first and not second
    with locked(tmp_path, wait=False) as held:
        assert held


def test_a_lock_is_let_go_when_its_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), locked(tmp_path):
        raise ValueError("mine")
    with locked(tmp_path, wait=False) as held:
        assert held


def test_a_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    log = tmp_path / "log"
    with background([sys.executable, "-c", HOLD, str(tmp_path / "tree")], log=log) as child:
        assert wait_until(lambda: b"held" in log.read_bytes())
        with locked(tmp_path / "tree", wait=False) as held:
            assert not held
        child.child.kill()
        child.child.wait()
        with locked(tmp_path / "tree", wait=False) as held:
            assert held


def test_who_waits_with_patience_gives_up_and_says_who_holds_it(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    log = tmp_path / "log"
    with background([sys.executable, "-c", HOLD, str(tmp_path / "tree")], log=log) as child:
        assert wait_until(lambda: b"held" in log.read_bytes())
        said = rf"tree is locked by process {child.pid} \(\S*python"
        with pytest.raises(PushmirrorError, match=said), locked(tmp_path / "tree", patience_s=0.1):
            pass
        child.stop()
        with locked(tmp_path / "tree", patience_s=0.1) as held:
            assert held


def test_one_tree_under_two_names_is_one_lock(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "alias").symlink_to("tree")
    with locked(tmp_path / "tree"), locked(tmp_path / "alias", wait=False) as held:
        assert not held


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PushmirrorError, match="missing"), locked(tmp_path / "missing"):
        pass


def test_shared_locks_stand_beside_each_other_and_exclude_one_that_is_not(tmp_path: Path) -> None:
    with locked(tmp_path, shared=True) as first, locked(tmp_path, shared=True, patience_s=0) as second:
        assert first and second
        with locked(tmp_path, wait=False) as held:
            assert not held
