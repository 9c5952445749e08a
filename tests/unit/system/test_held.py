from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.system.locks import is_held, locked

needs_proc = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs /proc/locks")


@needs_proc
def test_a_lock_is_seen_while_it_is_held(tmp_path):
    with locked(tmp_path):
        during = is_held(tmp_path)
    assert (during, is_held(tmp_path)) == (True, False)


@needs_proc
def test_looking_takes_nothing(tmp_path):
    is_held(tmp_path)
    with locked(tmp_path, wait=False) as held:
        assert held


def test_a_directory_that_is_not_there_is_held_by_nobody(tmp_path):
    assert is_held(tmp_path / "none") is False


def test_without_the_list_of_locks_nothing_is_known(tmp_path):
    assert is_held(tmp_path, locks=tmp_path / "none") is None


def test_the_same_number_on_another_device_proves_nothing(tmp_path):
    listed = tmp_path / "locks"
    listed.write_text(f"1: FLOCK  ADVISORY  WRITE 1 ff:ff:{tmp_path.stat().st_ino} 0 EOF\n")
    assert is_held(tmp_path, locks=listed) is None
