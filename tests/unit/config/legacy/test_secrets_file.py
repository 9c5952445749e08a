from __future__ import annotations

import pytest

from pushmirror.config.legacy.secrets_file import read_secrets
from pushmirror.errors import ConfigError

LINES = [
    ("site1:secret", {"site1": "secret"}, ""),
    ("# site1:secret", {}, ""),
    ("site1:with blanks : and # more ", {"site1": "with blanks : and # more "}, ""),
    ("site1:secret\r", {"site1": "secret"}, ""),
    (" site1:secret", {" site1": "secret"}, ""),  # rsync strips nothing
    ("a:secret\na:secret2", {"a": "secret"}, ":2: a is there already"),
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


def test_a_file_that_cannot_be_read_is_told_with_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read") as error:
        read_secrets(tmp_path / "none")
    assert "root" in str(error.value.hint)
