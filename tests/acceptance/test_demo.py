"""`pushmirror lab` as a newcomer runs it: all of it shown, verified and cleared away."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pushmirror.errors import Exit
from pushmirror.lab.service import wait_until
from pushmirror.system import process

ARGV = [sys.executable, "-m", "pushmirror", "lab", "--packages", "30", "--changes", "1"]
LIMIT_S = 120.0


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where the lab may put its directory; at the end it is empty, and nobody works in it."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    yield directory
    assert list(directory.iterdir()) == []
    assert wait_until(lambda: not at_work_in(directory)), at_work_in(directory)


def at_work_in(directory: Path) -> list[str]:
    """Command lines and directories of processes that have to do with a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                place = str((entry / "cwd").readlink())
            except OSError:
                continue
            if str(directory) in words or place.startswith(str(directory)):
                found.append(f"{words} in {place}")
    return found


def test_the_lab_shows_a_site_that_follows_its_hub(temporary: Path) -> None:
    result = process.run(ARGV, env={"TMPDIR": str(temporary)}, timeout_s=LIMIT_S)
    told = result.output.decode()
    assert (result.exit_code, result.errors) == (Exit.OK, "")
    for words in ("sync:stage1", "sync:stage2", "sync:all", "broken   0 ", "6 of 6 signatures are good"):
        assert words in told
    assert "All is verified" in told
    assert "\x1b" not in told


def test_the_result_can_be_had_as_json(temporary: Path) -> None:
    result = process.run([*ARGV, "--json"], env={"TMPDIR": str(temporary)}, timeout_s=LIMIT_S)
    verdict = json.loads(result.check().output)
    hub, site = verdict["machines"]
    assert (verdict["problems"], verdict["broken"], verdict["signatures"]) == ([], 0, 6)
    assert (hub["generation"], hub["archive_serial"]) == (site["generation"], site["archive_serial"])
    assert [push["exit_code"] for push in verdict["pushes"]] == [0, 0, 0]


@contextmanager
def running_until(words: str, temporary: Path, log: Path, *more: str) -> Iterator[process.Background]:
    """The lab from the moment when it has told `words`."""
    env = {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    with process.background([*ARGV, *more], env=env, log=log) as child:
        assert wait_until(lambda: words in log.read_text() or child.poll() is not None, limit_s=LIMIT_S)
        yield child


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("signed   by", signal.SIGTERM),
        ("for the first time", signal.SIGINT),
        ("change   1 of 1", signal.SIGTERM),  # the push begins
        ("sync:stage1", signal.SIGINT),  # the second push begins
    ],
)
def test_a_signal_ends_all_of_it_and_clears_up(
    temporary: Path, tmp_path: Path, words: str, number: signal.Signals
) -> None:
    with running_until(words, temporary, tmp_path / "log") as child:
        os.kill(child.pid, number)
        assert wait_until(lambda: child.poll() is not None)
        assert child.poll() == 128 + number
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_what_is_kept_can_be_woken_by_ssh_until_ctrl_c(temporary: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_until("Ctrl-C ends it", temporary, log, "--keep") as child:
        lines = [line.split() for line in log.read_text().splitlines() if line.strip()]
        place = next(Path(line[1]) for line in lines if line[0] == "cd")
        ssh = next(line for line in lines if line[0] == "ssh")
        assert process.run(ssh, cwd=place, timeout_s=LIMIT_S).check().output.startswith(b"debian all: ")
        os.kill(child.pid, signal.SIGINT)
        assert wait_until(lambda: child.poll() is not None)
        assert child.poll() == Exit.OK
