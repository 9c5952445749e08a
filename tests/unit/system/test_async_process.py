"""A program beside others in one event loop: bounds, and nothing left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from pushmirror.errors import ProgramFailed, ProgramMissing
from pushmirror.lab.services import wait_until
from pushmirror.system import async_process, process
from pushmirror.system.async_process import Ended, run
from pushmirror.system.process import MAX_OUTPUT


def done(job: Coroutine[Any, Any, Ended]) -> Ended:
    async def within() -> Ended:
        async with asyncio.timeout(60):
            return await job

    return asyncio.run(within())


def is_gone(pid: int) -> bool:
    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    return wait_until(ended)


def test_output_and_errors_come_in_their_order_with_the_code() -> None:
    assert done(run(["sh", "-c", "echo one; echo two >&2; echo three; exit 7"])) == Ended(
        7, b"one\ntwo\nthree\n"
    )


def test_a_signal_that_ended_a_program_is_a_negative_code() -> None:
    assert done(run(["sh", "-c", "kill -9 $$"])).exit_code == -9


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(ProgramMissing, match="/nonexistent/program"):
        done(run(["/nonexistent/program"]))


def test_a_file_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(ProgramFailed, match="Permission denied"):
        done(run([str(tmp_path / "text")]))


def test_the_environment_is_clean_and_there_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSYNC_PASSWORD", "secret")
    said = done(run(["sh", "-c", "env; wc -c"], env={"ASKED": "for"})).output
    assert b"secret" not in said and b"ASKED=for" in said and said.endswith(b"0\n")


def test_a_flood_is_drained_and_its_end_is_kept() -> None:
    ended = done(run([sys.executable, "-c", "print('x' * 10_000_000); print('end')"]))
    assert (len(ended.output), ended.output[-5:]) == (MAX_OUTPUT, b"\nend\n")


def test_a_flood_leaves_others_their_turn() -> None:
    async def beside_a_flood() -> Ended:
        flood = asyncio.create_task(run(["cat", "/dev/zero"]))
        other = await run(["echo", "here"])
        assert not flood.done()
        flood.cancel()
        await asyncio.wait({flood})
        return other

    assert done(beside_a_flood()).output == b"here\n"


def cancelled_when_it_runs(script: str, note: Path) -> list[int]:
    """The processes that the script named in the note, of which none may be left."""

    async def within() -> None:
        async with asyncio.timeout(60):
            task = asyncio.create_task(run(["sh", "-c", script]))
            while not note.exists():
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(within())
    return [int(pid) for pid in note.read_text().split()]


def test_a_cancelled_program_is_gone_with_its_group(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    script = f"sleep 60 & echo $$ $! > {note}.new; mv {note}.new {note}; wait"
    assert all(is_gone(pid) for pid in cancelled_when_it_runs(script, note))


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_process, "_TERM_GRACE_S", 0.2)
    note = tmp_path / "pids"
    script = f"trap '' TERM; echo $$ > {note}.new; mv {note}.new {note}; while :; do sleep 1; done"
    assert all(is_gone(pid) for pid in cancelled_when_it_runs(script, note))


def test_what_a_program_leaves_behind_is_ended_and_holds_nobody_up(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    ended = done(run(["sh", "-c", f"sleep 60 & echo $! > {note}; echo done"]))
    assert ended.output == b"done\n" and is_gone(int(note.read_text()))


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_program_does_not_outlive_us_when_we_are_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = (
        "import asyncio; from pushmirror.system.async_process import run\n"
        f"asyncio.run(run(['sh', '-c', 'echo $$ > {note}.new; mv {note}.new {note}; exec sleep 60']))"
    )
    with process.background([sys.executable, "-c", script], log=tmp_path / "log") as us:
        assert wait_until(note.exists)
        program = int(note.read_text())
        assert wait_until(lambda: len(children_of(us.pid)) == 2)  # the program and who watches over us
        os.kill(us.pid, signal.SIGKILL)
        assert is_gone(program)
