from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from offering import open_directory
from pushmirror.errors import ConfigError, Exit, PushmirrorError
from pushmirror.system.users import as_user, only_root_changes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another user")
NOBODY = pwd.struct_passwd(("nobody", "x", 65534, 65534, "", "/", "/bin/sh"))


@pytest.fixture
def base():
    with open_directory() as directory:
        yield directory


@as_root
def test_what_is_done_as_a_user_has_nothing_of_root_and_never_again():
    def act():
        with pytest.raises(PermissionError):
            os.setresuid(0, 0, 0)
        return json.dumps([os.getresuid(), os.getresgid(), os.getgroups()])

    assert json.loads(as_user(NOBODY, act)) == [[65534] * 3, [65534] * 3, [65534]]
    assert os.getresuid() == (0, 0, 0)


@as_root
def test_an_error_of_a_user_is_raised_with_its_hint_and_exit_code():
    def act():
        raise ConfigError("wrong", hint="right it")

    with pytest.raises(PushmirrorError, match="wrong") as error:
        as_user(NOBODY, act)
    assert (error.value.hint, error.value.exit_code) == ("right it", Exit.CONFIG)


@as_root
def test_a_mistake_is_one_of_ours_here_too():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        as_user(NOBODY, lambda: str(1 // 0))


@as_root
def test_a_process_that_says_nothing_is_an_error():
    with pytest.raises(PushmirrorError, match="acted as nobody"):
        as_user(NOBODY, lambda: os._exit(0))


@as_root
def test_root_believes_a_file_that_only_root_can_change(base):
    (base / "file").touch()
    (base / "link").symlink_to("file")
    assert only_root_changes(base / "file") and only_root_changes(base / "link")
    assert only_root_changes(base / "none/at/all") and only_root_changes(base)


def files_of_others(base: Path) -> dict[str, Path]:
    """Paths at which another user decides what is read."""
    for name in ("file", "other", "writable", "group"):
        (base / name).touch()
    os.chown(base / "other", 65534, -1)
    (base / "writable").chmod(0o666)
    (base / "group").chmod(0o664)
    os.chown(base / "group", 0, 65534)
    (base / "theirs").mkdir()
    (base / "theirs/file").touch()
    (base / "theirs/to").symlink_to("../file")
    (base / "through").symlink_to("theirs/to")
    (base / "round").symlink_to("round")
    os.chown(base / "theirs", 65534, -1)
    (base / "shared").mkdir()
    (base / "shared").chmod(0o1777)
    names = (
        "shared/none",
        "other",
        "writable",
        "group",
        "theirs/file",
        "theirs/to",
        "through",
        "round",
        "theirs/none",
    )
    return {name: base / name for name in names}


@as_root
def test_root_does_not_believe_what_another_user_can_change(base):
    found = files_of_others(base)
    assert [name for name, path in found.items() if only_root_changes(path)] == []
