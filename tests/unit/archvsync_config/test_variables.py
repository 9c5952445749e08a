from __future__ import annotations

import os
import pwd
import socket

import pytest

from pushmirror.archvsync_config import variables
from pushmirror.archvsync_config.variables import read_variables
from pushmirror.errors import ConfigError

KNOWN = {"HOME": "/home/u", "EMPTY": "", "FILE": "/srv/a.b/c.d"}


def read(tmp_path, text, *, environment=None, preset=None):
    file = tmp_path / "ftpsync.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_variables(file, environment=environment or {}, preset=preset or {})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# TO=/srv\n\n  \t# more\n", {}),
        ("TO=/srv", {"TO": "/srv"}),
        ("A=1 B=$A; C=3 # all\n", {"A": "1", "B": "1", "C": "3"}),
        ("A=", {"A": ""}),
        ("A=#b", {"A": "#b"}),
        ("A='$X `date` \"' B=\"it's\"", {"A": '$X `date` "', "B": "it's"}),
        ("A=$'a\\tb\\'\\x41\\101'", {"A": "a\tb'AA"}),
        ("A=a\\\nb \\\n B=c", {"A": "ab", "B": "c"}),
        ("A='one\ntwo'\nB=\"one\ntwo\"", {"A": "one\ntwo", "B": "one\ntwo"}),
        ("A=--exclude=*.iso B=[a-z]{1,2}", {"A": "--exclude=*.iso", "B": "[a-z]{1,2}"}),
        ("E=a; E+=' b' F+=c", {"E": "a b", "F": "c"}),
        ("A=/log/${NAME}.log B=$NAME.x", {"A": "/log/ftpsync-security.log", "B": "ftpsync-security.x"}),
        ("K=~/.ssh/key L=~ M=a:~/b", {"K": "/home/u/.ssh/key", "L": "/home/u", "M": "a:/home/u/b"}),
        ("A=${NO:-~/x} B=${EMPTY-y} C=${NAME:+y}", {"A": "/home/u/x", "B": "", "C": "y"}),
        ("A=${FILE%.*} B=${FILE##*/}", {"A": "/srv/a.b/c", "B": "c.d"}),
        (': ${TO:=/srv/debian} "${HUB:=no way}" ${NAME:=x}', {"TO": "/srv/debian", "HUB": "no way"}),
        ("A=(a b)", {"A": "a b"}),
        ("if true; then A=$((1+1)); fi", {"A": "2"}),
    ],
)
def test_a_file_sets_what_bash_makes_of_it(tmp_path, text, values):
    assert read(tmp_path, text, environment=KNOWN, preset={"NAME": "ftpsync-security"}).values == values


def test_the_output_of_a_command_is_the_programs_in_path(tmp_path):
    program = tmp_path / "hostname"
    program.write_text("#!/bin/sh\necho mirror.example.org\n")
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert read(tmp_path, "A=$(hostname -f)", environment={"PATH": path}).values == {
        "A": "mirror.example.org"
    }


def test_a_file_finds_programs_where_the_environment_has_no_path(tmp_path):
    assert read(tmp_path, "A=$(id -u)").values == {"A": str(os.geteuid())}


def test_what_is_exported_is_known(tmp_path):
    found = read(tmp_path, "A=1\nexport A B=2 C\nexport D=$A\nE=3\n")
    assert (found.values["D"], found.exported) == ("1", {"A", "B", "D"})


def test_functions_are_known(tmp_path):
    assert read(tmp_path, "f() { :; }\n").functions == ("f",)


def test_a_files_variables_win_over_the_environments(tmp_path):
    found = read(tmp_path, "TO=/srv\n", environment={"TO": "/else", "HUB": "true"})
    assert (found.get("TO"), found.get("HUB")) == ("/srv", "true")


def test_the_scripts_own_variables_win_over_the_environments(tmp_path):
    found = read(tmp_path, "LOG=$LOGDIR/x\n", environment={"LOGDIR": "/env"}, preset={"LOGDIR": "/script"})
    assert (found.get("LOG"), found.get("LOGDIR")) == ("/script/x", "/script")


def test_without_a_file_the_environment_says_everything():
    found = read_variables(None, environment={"RSYNC_HOST": "h"}, preset={"NAME": "ftpsync"})
    assert (found.file, dict(found.values), found.get("RSYNC_HOST"), found.get("NAME")) == (
        None,
        {},
        "h",
        "ftpsync",
    )


def test_bug_31_a_missing_logname_is_the_users_name(tmp_path):
    found = read(tmp_path, "MAILTO=$LOGNAME\n")
    assert found.get("MAILTO") == found.get("LOGNAME") == pwd.getpwuid(os.geteuid()).pw_name


def test_a_user_without_a_name_is_a_number(monkeypatch):
    def nobody(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert variables.own_user() == str(os.geteuid())


def test_the_host_has_a_name_as_in_bash(tmp_path):
    assert read(tmp_path, "MIRRORNAME=$HOSTNAME\n").get("MIRRORNAME") == socket.gethostname()


def test_a_variable_of_the_environment_stays_exported_when_the_file_sets_it(tmp_path):
    found = read(tmp_path, "export A=1\nB=2\nC=3\n", environment={"B": "0"})
    assert found.exported == {"A", "B"}


def test_latin_1_is_read_as_it_is(tmp_path):
    value = read(tmp_path, b"INFO_LOCATION=Z\xfcrich\n").get("INFO_LOCATION")
    assert value.encode("utf-8", "surrogateescape") == b"Z\xfcrich"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.conf: cannot be read: No such file"):
        read_variables(tmp_path / "none.conf", environment={}, preset={})


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_variables(tmp_path, environment={}, preset={})


def test_a_password_is_not_in_the_variables_words(tmp_path):
    assert "hush" not in repr(read(tmp_path, "RSYNC_PASSWORD=hush\n", environment={"RSYNC_PASSWORD": "hush"}))


def test_bug_31_an_empty_logname_is_the_users_name_too():
    found = read_variables(None, environment={"LOGNAME": ""}, preset={})
    assert found.get("LOGNAME") == variables.own_user()
