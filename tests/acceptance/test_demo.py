"""`pushmirror lab` as a newcomer runs it: all of it shown, verified and cleared away."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pushmirror.errors import Exit
from pushmirror.lab.services import wait_until
from pushmirror.system import process

ARGV = [sys.executable, "-m", "pushmirror", "lab", "--packages", "20", "--changes", "1"]
SMALL = [*ARGV, "--sites", "1", "--depth", "1"]
LIMIT_S = 240.0
MIRRORS = ["hub", "site1", "site2", "site3", "site3a", "site3b"]


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


def test_the_lab_shows_hubs_and_sites_that_follow_their_owner(temporary: Path) -> None:
    result = process.run(ARGV, env={"TMPDIR": str(temporary)}, timeout_s=LIMIT_S)
    told = result.output.decode()
    assert (result.exit_code, result.errors) == (Exit.OK, "")
    assert told.count("6 of 6 mirrors") == 2  # the first fetch, and the change
    assert told.count("all its sites had stage 1 ✓") == 2
    assert told.count("8 signatures good ✓") == len(MIRRORS)
    for words in ("broken     0 ", "3 of 3", "All is verified"):
        assert words in told
    assert "\x1b" not in told


@pytest.fixture
def verdict(temporary: Path) -> dict[str, Any]:
    """What a hub, a hub below it and two sites below that come to."""
    argv = [*ARGV, "--sites", "1", "--depth", "2", "--json"]
    result = process.run(argv, env={"TMPDIR": str(temporary)}, timeout_s=LIMIT_S)
    found: dict[str, Any] = json.loads(result.check().output)
    return found


def test_the_result_can_be_had_as_json_and_stage_1_goes_down_every_level(verdict: dict[str, Any]) -> None:
    owner, *mirrors = verdict["machines"]
    assert (verdict["problems"], verdict["broken"]) == ([], 0)
    assert [one["name"] for one in mirrors] == ["hub", "site1", "site1a", "site1b"]
    for one in mirrors:
        assert (one["generation"], one["archive_serial"]) == (owner["generation"], owner["archive_serial"])
        assert (one["state"], one["level"], one["signatures"]) == ("live", "ok", 8)
    for push in verdict["pushes"]:
        assert {one["strategy_text"].partition(": ")[0] for one in push["mirrors"]} == {"by manifest"}
        assert {barrier["hub"] for barrier in push["barriers"]} == {"owner", "hub", "site1"}
        for barrier in push["barriers"]:
            assert barrier["last_stage1_s"] <= barrier["first_stage2_s"]
    ends = {one["name"]: one["calls"][0]["ended_s"] for one in verdict["pushes"][-1]["mirrors"]}
    assert ends["site1a"] < ends["site1"] < ends["hub"] and ends["site1b"] < ends["site1"]


def test_sites_can_be_pushed_in_other_ways(temporary: Path) -> None:
    argv = [*SMALL, "--push", "all", "--json"]
    verdict = json.loads(process.run(argv, env={"TMPDIR": str(temporary)}, timeout_s=LIMIT_S).check().output)
    assert [call["stage"] for call in verdict["pushes"][-1]["mirrors"][-1]["calls"]] == ["all"]


@contextmanager
def running_until(words: str, temporary: Path, log: Path, *more: str) -> Iterator[process.Background]:
    """The lab from the moment when it has told `words`."""
    env = {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    with process.background([*SMALL, *more], env=env, log=log) as child:
        assert wait_until(lambda: words in log.read_text() or child.poll() is not None, limit_s=LIMIT_S)
        yield child


def ended(child: process.Background) -> int | None:
    assert wait_until(lambda: child.poll() is not None, limit_s=LIMIT_S)
    return child.poll()


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("signed     by", signal.SIGTERM),  # the network is set up
        ("deleted everywhere after the grace period", signal.SIGINT),
    ],
)
def test_a_signal_ends_all_of_it_and_clears_up(
    temporary: Path, tmp_path: Path, words: str, number: signal.Signals
) -> None:
    with running_until(words, temporary, tmp_path / "log") as child:
        os.kill(child.pid, number)
        assert ended(child) == 128 + number
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_pushes_in_the_background_and_woken_sites_are_ended_too(temporary: Path, tmp_path: Path) -> None:
    def woken() -> bool:
        return any(" receive " in one for one in at_work_in(temporary))

    with running_until("change     ", temporary, tmp_path / "log") as child:
        assert wait_until(woken, limit_s=LIMIT_S)
        os.kill(child.pid, signal.SIGTERM)
        assert ended(child) == 128 + signal.SIGTERM


def test_what_is_kept_can_be_tried_until_ctrl_c(temporary: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_until("Ctrl-C ends it", temporary, log, "--keep") as child:
        lines = [line.split() for line in log.read_text().splitlines() if line.strip()]
        place = next(Path(line[1].rstrip(";")) for line in lines if line[0] == "cd")
        for program, answer in (("ssh", b"debian all: "), ("rsync", b"dists")):
            argv = next(line for line in lines if line[0] == program)
            assert answer in process.run(argv, cwd=place, timeout_s=LIMIT_S).check().output
        _, *words = next(line for line in lines if line[-2:-1] == ["pause"])
        argv = [sys.executable, "-m", "pushmirror", *words]
        process.run(argv, cwd=place, timeout_s=LIMIT_S).check()
        os.kill(child.pid, signal.SIGUSR1)
        assert wait_until(lambda: "1 of 2 mirrors" in log.read_text(), limit_s=LIMIT_S)
        os.kill(child.pid, signal.SIGINT)
        assert ended(child) == Exit.OK
