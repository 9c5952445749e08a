from pathlib import Path

import pytest

from pushmirror.config.model import default_state_directory


@pytest.mark.parametrize(
    ("named", "expected"), [("/srv/state", "/srv/state"), ("state", "/var/lib/pushmirror")]
)
def test_the_environment_names_the_state_directory_by_a_whole_path(monkeypatch, named, expected):
    monkeypatch.setenv("PUSHMIRROR_STATE", named)
    monkeypatch.setattr("pushmirror.config.model.os.geteuid", lambda: 0)
    assert default_state_directory() == Path(expected)
