"""Files that appear whole or not at all."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.errors import StateError
from pushmirror.system.files import (
    create_private,
    has_digest,
    is_private,
    make_open_directories,
    opened_directory,
    sha256_of,
    sync_file_system,
    write_atomically,
)


def test_a_file_is_replaced_and_never_changed_in_place(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with file.open("rb") as reader:
        write_atomically(file, b"new", mode=0o600)
        assert reader.read() == b"old"
    assert file.read_bytes() == b"new" and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_mode_is_as_asked_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "file", b"", mode=0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "directory", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_a_link_that_lies_where_the_new_file_is_written_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "file.new").symlink_to("precious")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_private_file_is_never_written_over(tmp_path: Path) -> None:
    create_private(tmp_path / "key", b"one")
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "key", b"two")
    assert is_private(tmp_path / "key") and (tmp_path / "key").read_bytes() == b"one"


@pytest.mark.parametrize(("mode", "private"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_private_means_that_only_the_owner_can_read(tmp_path: Path, mode: int, private: bool) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(mode)
    assert is_private(tmp_path / "file") is private


def test_the_hash_of_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    assert sha256_of(tmp_path / "file").startswith("e3b0c442")
    with pytest.raises(OSError, match="symbolic links"):
        sha256_of(tmp_path / "link")


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_a_file_is_compared_by_the_kind_of_hash_that_is_known_of_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    right = hashlib.new(name, b"content").hexdigest()
    assert has_digest(tmp_path / "file", right) and not has_digest(tmp_path / "file", "0" * len(right))


def test_of_a_file_of_no_known_hash_it_is_enough_that_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    names = ("file", "link", "none", ".")
    assert [name for name in names if has_digest(tmp_path / name, "")] == ["file"]


def test_the_file_system_of_a_directory_that_is_gone_cannot_be_synced(tmp_path: Path) -> None:
    sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "gone")


def test_open_directories_are_for_everybody_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir(mode=0o700)
    before = os.umask(0o077)
    try:
        make_open_directories(tmp_path, "one", "two")
    finally:
        os.umask(before)
    found = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("one", "one/two")]
    assert found == [0o755, 0o755]


@pytest.mark.parametrize("link", ["one", "one/two"])
@pytest.mark.parametrize("kind", [Path.mkdir, Path.touch])
def test_a_link_does_not_choose_whose_rights_are_changed(
    tmp_path: Path, link: str, kind: Callable[..., None]
) -> None:
    kind(tmp_path / "precious", mode=0o700)
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "precious")
    with pytest.raises(StateError, match=f"{link} is a link or a file"):
        make_open_directories(tmp_path, "one", "two", "three")
    assert stat.S_IMODE((tmp_path / "precious").stat().st_mode) == 0o700


def test_an_opened_directory_stays_the_same_though_a_link_takes_its_name(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    with opened_directory(tmp_path / "one", owner=os.geteuid(), mode=0o700) as directory:
        (tmp_path / "one").rename(tmp_path / "two")
        (tmp_path / "one").symlink_to(tmp_path / "precious")
        write_atomically(directory / "file", b"data")
    assert (tmp_path / "two/file").read_bytes() == b"data" and not list((tmp_path / "precious").iterdir())
    assert stat.S_IMODE((tmp_path / "two").stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", [Path.mkdir, Path.touch])
def test_a_link_is_no_directory_to_open(tmp_path: Path, kind: Callable[..., None]) -> None:
    kind(tmp_path / "precious")
    (tmp_path / "one").symlink_to(tmp_path / "precious")
    opened = opened_directory(tmp_path / "one", owner=os.geteuid(), mode=0o700)
    with pytest.raises(StateError, match="one is a link or a file"), opened:
        pass


def test_a_directory_of_another_user_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir(mode=0o700)
    with pytest.raises(StateError, match="belongs to user"):
        make_open_directories(tmp_path, "one", owner=os.geteuid() + 1)
    opened = opened_directory(tmp_path / "one", owner=os.geteuid() + 1, mode=0o700)
    with pytest.raises(StateError, match="belongs to user"), opened:
        pass
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
