from __future__ import annotations

import pytest

from pushmirror.config import loader
from pushmirror.config.types import what_is_wrong
from pushmirror.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "secret"
    made.write_text("hunter2\n")
    made.chmod(0o600)
    return made


def test_a_private_file_with_a_password_is_fine(file):
    assert what_is_wrong(file) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_password_that_others_can_read_is_refused(file, mode):
    file.chmod(mode)
    wrong = what_is_wrong(file)
    assert f"has mode {mode:04o}, expected" in wrong and "chmod 600" in wrong and "hunter2" not in wrong


@pytest.mark.parametrize("text", ["", "\n", "\nhunter2\n"])
def test_an_empty_password_is_refused(file, text):
    file.write_text(text)
    assert "is empty" in what_is_wrong(file)


def test_a_missing_password_file_is_found_when_the_configuration_is_read(tmp_path):
    archive = f'path = "/srv/a"\nupstream = "rsync://u@h/m"\npassword_file = "{tmp_path}/none"\n'
    (tmp_path / "pushmirror.toml").write_text("[archives.a]\n" + archive)
    with pytest.raises(ConfigError, match=r"archives\.a\.password_file: .*/none is missing"):
        loader.load(tmp_path)
