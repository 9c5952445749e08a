from __future__ import annotations

import pytest

from pushmirror.config import toml
from pushmirror.config.model import Archive
from pushmirror.config.secrets import read_password
from pushmirror.errors import ConfigError


@pytest.fixture
def archive(tmp_path):
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    return Archive(name="a", path="/srv/a", upstream="rsync://u@h/m", password_file=file)


def test_the_password_is_the_first_line(archive):
    assert read_password(archive) == "hunter2"


def test_an_archive_without_a_password_file_has_none():
    assert read_password(Archive(name="a", path="/srv/a")) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_password_that_others_can_read_is_refused(archive, mode):
    archive.password_file.chmod(mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}, expected .* chmod 600") as caught:
        read_password(archive)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", "\nhunter2\n"])
def test_an_empty_password_is_refused(archive, text):
    archive.password_file.write_text(text)
    with pytest.raises(ConfigError, match="is empty"):
        read_password(archive)


def test_a_missing_password_file_is_found_when_the_configuration_is_read(tmp_path):
    archive = f'path = "/srv/a"\nupstream = "rsync://u@h/m"\npassword_file = "{tmp_path}/none"\n'
    (tmp_path / "pushmirror.toml").write_text("[archives.a]\n" + archive)
    with pytest.raises(ConfigError, match=r"archives\.a\.password_file: .*/none is missing"):
        toml.load(tmp_path)
