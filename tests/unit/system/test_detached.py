"""Programs that outlive who started them."""

from pathlib import Path

import pytest

from pushmirror.lab.services import wait_until
from pushmirror.system import detached


def test_a_detached_program_keeps_no_directory_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    detached.start(["pwd"], log=log)
    assert wait_until(log.read_bytes)
    assert log.read_text() == "/\n"


def test_a_detached_program_has_the_environment_that_it_is_to_have_and_nothing_to_read(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    detached.start(["sh", "-c", 'echo "$WORD $(cat) $1"', "sh", "a b"], log=log, env={"WORD": "one"})
    assert wait_until(log.read_bytes)
    assert log.read_text() == "one  a b\n"
