from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.archvsync_config.places import ScriptPaths, config_name, find

PACKAGES = (Path("/home/m/.config/ftpsync"), Path("/etc/ftpsync"))


def made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


def test_the_packages_places_are_in_the_home_directory():
    assert ScriptPaths.of({"HOME": "/home/m"}, "/usr/bin/ftpsync") == ScriptPaths(
        PACKAGES, Path("/home/m/.local/log/ftpsync"), Path("/home/m/.local/lock/ftpsync"), None, Path.cwd()
    )


def test_a_tarballs_places_are_around_its_command(tmp_path):
    made(tmp_path / "etc/ftpsync-security.conf")
    found = ScriptPaths.of({"HOME": "/home/m"}, f"{tmp_path}/bin/ftpsync")
    assert found.config == (tmp_path / "etc", *PACKAGES)
    assert (found.logs, found.locks, found.base) == (tmp_path / "log", tmp_path / "locks", tmp_path)


def test_other_files_in_etc_make_no_tarball(tmp_path):
    made(tmp_path / "etc/ftpsync.conf.sample")
    assert ScriptPaths.of({"HOME": "/home/m"}, f"{tmp_path}/bin/ftpsync").base is None


def test_basedir_names_the_tarball(tmp_path):
    made(tmp_path / "etc/runmirrors-x.conf")
    assert ScriptPaths.of({"HOME": "/h", "BASEDIR": str(tmp_path)}).base == tmp_path


def test_bug_23_a_basedir_that_is_set_only_for_runmirrors_moves_nothing(tmp_path):
    made(tmp_path / "etc/of-somebody-else")
    told, found = (
        ScriptPaths.of({"HOME": "/home/m", "BASEDIR": str(tmp_path)}),
        ScriptPaths.of({"HOME": "/home/m"}),
    )
    assert (told.config, told.logs, told.locks) == (found.config, found.logs, found.locks)
    assert (told.here, found.here) == (tmp_path, Path.cwd())


def test_a_link_counts_as_the_command_that_it_is(tmp_path):
    made(tmp_path / "mirror/etc/ftpsync.conf")
    target = made(tmp_path / "opt/bin/ftpsync")
    link = tmp_path / "mirror/bin/ftpsync-security"
    link.parent.mkdir()
    link.symlink_to(target)
    assert ScriptPaths.of({"HOME": "/h"}, str(link)).base == tmp_path / "mirror"


def test_a_command_without_a_path_is_looked_for(tmp_path):
    made(tmp_path / "etc/runmirrors.conf")
    made(tmp_path / "bin/runmirrors").chmod(0o755)
    assert ScriptPaths.of({"HOME": "/h", "PATH": f"/nowhere:{tmp_path}/bin"}, "runmirrors").base == tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ftpsync-a.b_C-1.conf", "ftpsync-a.b_C-1.conf"),
        ("ftpsync-../../x.conf", "ftpsync-.._.._x.conf"),
        ("ftpsync-a b\n;$é.conf", "ftpsync-a_b____.conf"),
    ],
)
def test_a_name_leads_nowhere_else(name, file):
    assert config_name(name) == file


def test_the_first_file_of_a_name_is_the_one(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    (first / "ftpsync.conf").mkdir(parents=True)
    places = ScriptPaths((first, second), tmp_path, tmp_path, None)
    assert find(places, "ftpsync.conf") is None
    file = made(second / "ftpsync.conf")
    assert find(places, "ftpsync.conf") == file
