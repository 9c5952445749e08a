"""Processes that are told by the configuration in their command line."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.lab.processes import at_work_on, descendants, end_all_of
from pushmirror.lab.services import wait_until
from pushmirror.system import detached, process

#: Stands for a pushmirror; says so when it can be ended.
SCRIPT = "import signal, sys; {}; print('up', flush=True); signal.pause(); signal.pause()"


def argv(config: Path, prelude: str = "pass") -> list[str]:
    return [sys.executable, "-c", SCRIPT.format(prelude), "--config", str(config), "push"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "lab"
    (directory / "hub" / "etc").mkdir(parents=True)
    yield directory
    for pid in at_work_on(directory):
        os.kill(pid, signal.SIGKILL)


def start(directory: Path, log: Path, prelude: str = "pass") -> None:
    detached.start(argv(directory, prelude), log=log)
    assert wait_until(lambda: "up" in log.read_text())


def test_what_was_started_in_a_session_of_its_own_is_found_and_ended(lab: Path, tmp_path: Path) -> None:
    start(lab / "hub/etc/pushmirror.toml", tmp_path / "log")
    assert len(at_work_on(lab)) >= 1
    end_all_of(lab)
    assert at_work_on(lab) == []


def test_what_does_not_listen_is_killed(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushmirror.lab.processes._ENDS_S", 0.2)
    start(lab / "hub/etc", tmp_path / "log", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    end_all_of(lab)
    assert at_work_on(lab) == []


def test_another_lab_is_left_alone(lab: Path, tmp_path: Path) -> None:
    other = tmp_path / "lab-2" / "hub" / "etc"  # its name begins with ours
    with process.background(argv(other), log=tmp_path / "log") as child:
        assert wait_until(lambda: "up" in (tmp_path / "log").read_text())
        end_all_of(lab)
        assert child.poll() is None


def test_who_was_started_by_somebody_is_found_however_far_down(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with process.background(["sh", "-c", "sh -c 'sleep 100 & echo $!; wait' & wait"], log=log) as child:
        assert wait_until(lambda: log.read_text().endswith("\n"))
        assert int(log.read_text()) in descendants(child.pid)
