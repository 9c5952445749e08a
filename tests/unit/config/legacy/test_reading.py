from __future__ import annotations

import os
import pwd
import socket

import pytest

from pushmirror.config.legacy import reading
from pushmirror.config.legacy.reading import read_variables
from pushmirror.errors import ConfigError
from pushmirror.system.bash import Evaluated


def read(tmp_path, text, *, environment=None, preset=None, **keys):
    file = tmp_path / "ftpsync.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_variables(file, environment=environment or {}, preset=preset or {}, **keys)


def test_a_files_variables_win_over_the_environments(tmp_path):
    found = read(tmp_path, "TO=/srv\n", environment={"TO": "/else", "HUB": "true"})
    assert (found.get("TO"), found.get("HUB"), found.by_bash) == ("/srv", "true", "")


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
    assert reading.own_user() == str(os.geteuid())


def test_the_host_has_a_name_as_in_bash(tmp_path):
    assert read(tmp_path, "MIRRORNAME=$HOSTNAME\n").get("MIRRORNAME") == socket.gethostname()


def test_a_variable_of_the_environment_stays_exported_when_the_file_sets_it(tmp_path):
    found = read(tmp_path, "export A=1\nB=2\nC=3\n", environment={"B": "0"})
    assert found.exported == {"A", "B"}


def test_what_is_not_surely_ours_is_asked_of_bash_and_the_reason_is_told(tmp_path):
    asked = []

    def evaluate(file, *, environment, preset):
        asked.append((file.name, preset))
        return Evaluated({"A": "1"}, frozenset({"A", "PATH"}), ("f",))

    found = read(tmp_path, "f() { :; }\n", preset={"NAME": "x"}, evaluate=evaluate)
    assert asked == [("ftpsync.conf", {"NAME": "x"})]
    assert (found.values, found.by_bash, found.functions, found.exported) == (
        {"A": "1"},
        "line 1: a function",
        ("f",),
        {"A"},
    )


def test_a_full_host_name_that_is_not_to_be_found_is_left_to_the_command(monkeypatch, tmp_path):
    def unknown(*_, **__):
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = read(tmp_path, "A=$(hostname -f)", evaluate=lambda *_, **__: Evaluated({}, frozenset(), ()))
    assert found.by_bash == "line 1: the output of hostname -f"


def test_a_short_host_name_ends_at_the_first_dot(monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "gethostname", lambda: "a.example.org")
    assert read(tmp_path, "A=$(hostname -s)").values == {"A": "a"}


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
    assert found.get("LOGNAME") == reading.own_user()
