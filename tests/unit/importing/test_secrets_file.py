from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pushmirror.errors import ConfigError
from pushmirror.importing.rsyncd_conf import read_secrets

LINES = [
    ("site1:secret", {"site1": "secret"}, ""),
    ("# site1:secret", {}, ""),
    ("site1:with blanks : and # more ", {"site1": "with blanks : and # more "}, ""),
    ("site1:secret\r", {"site1": "secret"}, ""),
    (" site1:secret", {" site1": "secret"}, ""),  # rsync strips nothing
    ("a:secret\na:secret2", {"a": "secret"}, ":2: a is already defined"),
    ("@group:secret", {}, ":1: @group is a group"),
    ("secretalone", {}, ":1: expected USER:PASSWORD"),
    (f"a:{'x' * 201}", {}, ":1: the password of a has not"),
    ("a:", {}, ":1: the password of a has not"),
]


@pytest.mark.parametrize(("text", "passwords", "told"), LINES)
def test_a_secrets_file(tmp_path, text, passwords, told):
    file = tmp_path / "secrets"
    file.write_bytes(f"{text}\n".encode())
    secrets = read_secrets(file)
    assert secrets.passwords == passwords
    assert [f"{file}{told}" in warning for warning in secrets.warnings] == [True] * bool(told)


@pytest.mark.parametrize(("text", "_", "told"), LINES)
def test_no_password_is_in_a_repr_or_a_warning(tmp_path, text, _, told):
    file = tmp_path / "s"  # its name is no password
    file.write_text(f"{text}\n")
    said = repr(read_secrets(file)).replace(str(file), "")
    assert "secret" not in said and "xxx" not in said


def test_a_comment_in_latin_1_is_in_nobodys_way(tmp_path):
    (tmp_path / "s").write_bytes(b"# Z\xfcrich\nsite1:geheim\n")
    secrets = read_secrets(tmp_path / "s")
    assert (secrets.passwords, secrets.warnings) == ({"site1": "geheim"}, ())


def test_a_password_in_latin_1_would_be_another_one_and_is_told(tmp_path):
    (tmp_path / "s").write_bytes(b"a:Z\xfcrich\nb:Z\xc3\xbcrich\n")
    secrets = read_secrets(tmp_path / "s")
    assert secrets.passwords == {"b": "Z\u00fcrich"}
    assert ":1: the line is not UTF-8" in secrets.warnings[0] and "rich" not in secrets.warnings[0]


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EACCES, "as root"), (errno.EPERM, "as root"), (errno.EISDIR, "rsyncd.conf")]
)
def test_a_file_that_cannot_be_read_is_told_with_what_to_do(tmp_path, monkeypatch, number, hint):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(
        ConfigError, match=f"cannot read the passwords of the rsync daemon: {os.strerror(number)}"
    ) as error:
        read_secrets(tmp_path / "none")
    assert hint in str(error.value.hint)


def test_a_file_that_is_not_there_lets_nobody_in_and_is_told(tmp_path):
    secrets = read_secrets(tmp_path / "none")
    assert (secrets.passwords, secrets.warnings) == (
        {},
        (f"{tmp_path}/none does not exist: its users cannot log in",),
    )
