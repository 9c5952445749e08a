from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.errors import UsageError
from pushmirror.importing.sources import sort_files, usual_places

NAMES = [
    *("ftpsync.conf", "ftpsync-security.conf", "runmirrors.conf", "runmirrors.mirror", "rsyncd.conf"),
    *("authorized_keys", "ftpsync.conf.dpkg-old", "rsyncd-part.conf", "known_hosts", "myftpsync.conf"),
]


@pytest.mark.parametrize("below", ["", "ftpsync", "etc", ".config/ftpsync", ".ssh"])
def test_a_directory_is_searched_by_name_and_the_main_archive_is_first(tmp_path, below):
    directory = tmp_path / below
    directory.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (directory / name).touch()
    found = sort_files([tmp_path])
    assert [file.name for file in found.files] == NAMES[:6]


def test_of_two_files_with_one_name_the_first_counts_and_the_other_is_told(tmp_path):
    files = [tmp_path / "a/ftpsync.conf", tmp_path / "b/ftpsync.conf"]
    for file in files:
        file.parent.mkdir()
        file.touch()
    found = sort_files([tmp_path / "a", tmp_path / "b"])
    assert (found.ftpsync, found.passed_over) == ((files[0],), ((files[1], files[0]),))


def test_a_file_that_is_named_twice_is_no_contradiction(tmp_path):
    (tmp_path / "ftpsync.conf").touch()
    assert sort_files([tmp_path, tmp_path / "ftpsync.conf"]).passed_over == ()


def test_a_part_of_an_rsyncd_conf_counts_only_when_it_is_named(tmp_path):
    (tmp_path / "rsyncd-debian.conf").touch()
    assert sort_files([tmp_path]).files == ()
    assert sort_files([tmp_path / "rsyncd-debian.conf"]).rsyncd == (tmp_path / "rsyncd-debian.conf",)


@pytest.mark.parametrize(
    ("name", "told"), [("none.conf", "no such file"), ("there.txt", "unknown file type")]
)
def test_what_is_not_there_or_not_known_is_wrong_usage(tmp_path, name, told):
    (tmp_path / "there.txt").touch()
    with pytest.raises(UsageError, match=told):
        sort_files([tmp_path / name])


def test_the_usual_places_are_the_scripts_own():
    assert [str(place) for place in usual_places(Path("/home/m"))] == [
        *("/home/m/.config/ftpsync", "/etc/ftpsync", "/home/m/etc", "/etc/rsyncd.conf"),
        "/home/m/.ssh/authorized_keys",
    ]
