"""When a connection to upstream is given up, and what becomes of the run; in rsync's place is a script."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from pushmirror.config.model import Archive, Mirror
from pushmirror.errors import ConnectionFailed, Exit
from pushmirror.fetch.upstream import Upstream
from pushmirror.progress import Silent
from pushmirror.state.records import Stage
from pushmirror.sync.engine import Engine
from pushmirror.sync.request import RunRequest
from pushmirror.system import clock
from upstreams import paths_in

REFUSED = "echo 'rsync: failed to connect to hub: Connection refused (111)' >&2; exit 10"


def archive(tmp_path: Path, script: str, **keys: object) -> Archive:
    program = tmp_path / "rsync"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    given = {"path": tmp_path / "tree", "upstream": "rsync://hub/debian", "rsync": str(program), **keys}
    return Archive.model_validate({"name": "debian", **given})


def test_a_connection_below_the_least_rate_is_given_up(tmp_path: Path) -> None:
    slow = "while sleep 0.05; do printf '%0200d' 1; done"
    one = archive(tmp_path, slow, timeout="1s", min_rate="1G", time_limit="1min")
    found = r"upstream is too slow: .* moved only \d{4,} bytes \(\d{4,} per second, expected .* 1073741824\)"
    with pytest.raises(ConnectionFailed, match=found) as caught:
        Upstream(one, Silent()).pin(tmp_path / "pin")
    assert caught.value.hint and "min_rate" in caught.value.hint


def test_a_connection_is_given_up_after_the_time_limit_whatever_it_moves(tmp_path: Path) -> None:
    one = archive(tmp_path, "exec cat /dev/zero", time_limit="1s")
    with pytest.raises(ConnectionFailed, match=r"time limit reached: .* timed out after 1 s") as caught:
        Upstream(one, Silent()).pin(tmp_path / "pin")
    assert caught.value.hint and "time_limit" in caught.value.hint


#: Closes the connection at once, as a daemon does that refuses an option without a word.
SILENT = "echo 'rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]' >&2; exit 12"
LEAST = "case \"$*\" in *' --delete '*) false ;; esac"  # it is what asks for as little as can be


@pytest.mark.parametrize(
    "then", [f"{LEAST} && sleep 60; {SILENT}", f"{LEAST} && sleep 0.5 && exit; {SILENT}"]
)
def test_who_is_asked_what_it_refuses_has_no_more_time_than_a_connection(tmp_path: Path, then: str) -> None:
    one = archive(tmp_path, then, timeout="1s", connect_timeout="1min")
    started = time.monotonic()
    with pytest.raises(ConnectionFailed, match="upstream did not answer"):
        Upstream(one, Silent(), remembered=tmp_path / "refused").pin(tmp_path / "pin")
    assert time.monotonic() - started < 5


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """How long was waited; nobody waits."""
    found: list[timedelta] = []
    monkeypatch.setattr(clock, "sleep", found.append)
    return found


def run(tmp_path: Path, script: str, **keys: object) -> ConnectionFailed:
    one = archive(tmp_path, script, **keys)
    one.path.mkdir()
    engine = Engine(one, Mirror(name="site.example.org"), paths=paths_in(tmp_path), progress=Silent())
    with pytest.raises(ConnectionFailed) as caught:
        engine.run(RunRequest("debian", Stage.ALL, "manual"), lambda _: None)
    return caught.value


def test_a_run_whose_connection_fails_tries_again_after_growing_pauses(
    tmp_path: Path, pauses: list[timedelta]
) -> None:
    error = run(tmp_path, f"echo >>{tmp_path}/asked; {REFUSED}", strategy="full")
    assert str(error).endswith("Connection refused (111), still after 3 retries")
    assert error.exit_code is Exit.STAGE1 and error.hint == "check host and port in `upstream`"
    assert (tmp_path / "asked").read_text().count("\n") == 4
    shares = [pause / timedelta(seconds=15) / times for pause, times in zip(pauses, (1, 2, 4), strict=True)]
    assert all(0.8 <= share <= 1.2 for share in shares)


def test_pauses_end_growing(tmp_path: Path, pauses: list[timedelta]) -> None:
    run(tmp_path, REFUSED, strategy="full", retries=9, retry_after="10s")
    assert len(pauses) == 9 and max(pauses) < timedelta(minutes=13)


def test_who_wants_no_retries_has_none(tmp_path: Path, pauses: list[timedelta]) -> None:
    assert str(run(tmp_path, REFUSED, retries=0)).endswith("Connection refused (111)")
    assert pauses == []
