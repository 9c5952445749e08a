"""Programs that outlive who started them."""

from pathlib import Path

import pytest

from pushmirror.lab.service import wait_until
from pushmirror.system import detached


def test_a_detached_program_keeps_no_directory_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    detached.start(["pwd"], log=log)
    assert wait_until(log.read_bytes)
    assert log.read_text() == "/\n"
