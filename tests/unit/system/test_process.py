"""The one function that starts programs: bounds, and nothing left behind."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from pushmirror.errors import ProgramFailed, ProgramMissing, Stalled, TookTooLong
from pushmirror.system import process
from pushmirror.system.process import MAX_OUTPUT, CancelToken, background, run


def python(line: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", f"import os, signal, subprocess, sys, time; {line}", *arguments]


def is_gone(pid: int, limit_s: float = 5) -> bool:
    """Whether a process has ended (or is only a zombie of somebody else's)."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_output_errors_and_code_are_told() -> None:
    result = run(python("print('out'); print('err', file=sys.stderr); sys.exit(7)"))
    assert (result.output, result.errors, result.exit_code) == (b"out\n", "err\n", 7)


def test_a_check_names_the_program_the_code_and_the_last_words() -> None:
    with pytest.raises(ProgramFailed, match=r"exit code 3: the end$"):
        run(["sh", "-c", "echo begin >&2; echo the end >&2; echo >&2; exit 3"]).check()


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(ProgramMissing, match="/nonexistent/program"):
        run(["/nonexistent/program"])


def test_a_file_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(ProgramFailed, match="Permission denied"):
        run([str(tmp_path / "text")])


def test_a_time_limit_may_be_of_years() -> None:
    assert run(["true"], timeout_s=1e9).exit_code == 0


def test_another_thread_ends_a_program_and_all_it_started(tmp_path: Path) -> None:
    pids, failures = tmp_path / "pids", []
    with CancelToken() as stop:

        def work() -> None:
            try:
                run(["sh", "-c", f"sleep 60 & echo $! $$ >{pids}.new; mv {pids}.new {pids}; wait"], stop=stop)
            except ProgramFailed as exc:
                failures.append(str(exc))

        thread = threading.Thread(target=work)
        thread.start()
        until = time.monotonic() + 10
        while not pids.exists() and time.monotonic() < until:
            time.sleep(0.01)
        stop.set()
        thread.join()
    assert len(failures) == 1 and "cancelled" in failures[0]
    assert all(is_gone(int(pid)) for pid in pids.read_text().split())


def test_a_program_that_is_not_stopped_ends_as_it_would_otherwise() -> None:
    with CancelToken() as stop:
        assert run(["sh", "-c", "cat; exit 4"], stdin=b"x" * 300_000, stop=stop).exit_code == 4


def test_arguments_reach_no_shell() -> None:
    assert run(python("print(sys.argv[1:])", "$(id)", "a b", "*")).output == b"['$(id)', 'a b', '*']\n"


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSYNC_PASSWORD", "secret")
    said = run(python("print(dict(os.environ))"), env={"ASKED": "for"}).output
    assert b"secret" not in said and b"'ASKED': 'for'" in said and b"'TZ': 'UTC'" in said


def test_a_program_that_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(ProgramFailed, match="timed out after"):
        run(["sleep", "60"], timeout_s=0.2)
    assert time.monotonic() - started < 10


def test_a_program_that_has_closed_its_output_is_ended_all_the_same() -> None:
    started = time.monotonic()
    with pytest.raises(TookTooLong, match="timed out after"):
        run(["sh", "-c", "exec >&- 2>&-; sleep 60"], timeout_s=0.3)
    with pytest.raises(Stalled):
        run(["sh", "-c", "exec >&- 2>&-; sleep 60"], idle_s=0.3)
    assert time.monotonic() - started < 30


def test_a_program_that_moves_nothing_for_too_long_is_ended() -> None:
    with pytest.raises(Stalled, match=r"in 0.2 s it moved only \d bytes"):
        process.run(["sh", "-c", "sleep 60 & wait"], idle_s=0.2)


def test_a_program_that_moves_next_to_nothing_for_too_long_is_ended() -> None:
    drip = python("import os, time\nfor _ in range(600): time.sleep(0.1); os.write(1, b'.')")
    with pytest.raises(Stalled, match=r"in 1.5 s it moved only \d\d bytes"):
        process.run(drip, idle_s=1.5)


def test_a_program_is_ended_below_the_rate_that_is_expected_of_it() -> None:
    drip = python("\nfor _ in range(600): time.sleep(0.1); os.write(1, b'.' * 100)")
    with pytest.raises(Stalled, match=r"moved only \d{3,4} bytes \(\d{2,4} per second, expected .* 10240\)"):
        process.run(drip, idle_s=1.5, least_rate=10240)


def test_what_goes_through_several_programs_counts_once() -> None:
    write = "\nfor _ in range(600): time.sleep(0.1); os.write(1, b'.' * 1000)"
    through = ["sh", "-c", f'"$0" -c "import os, time{write}" | cat | cat | cat', sys.executable]
    with pytest.raises(Stalled, match=r"moved only \d{4,5} bytes"):
        process.run(through, idle_s=2, least_rate=15_000)


def test_who_runs_a_program_hears_whether_it_moves_anything() -> None:
    heard: list[bool] = []
    pids: list[int] = []

    def on_look(moved: bool) -> None:
        heard.append(moved)
        while moved and pids:
            os.kill(pids.pop(), signal.SIGKILL)

    script = "cat /dev/zero >/dev/null & echo $!; wait; exec sleep 60"
    with pytest.raises(Stalled):
        process.run(
            ["sh", "-c", script], idle_s=2, on_line=lambda line: pids.append(int(line)), on_look=on_look
        )
    assert True in heard and not heard[-1]


def test_a_program_that_is_killed_is_noticed_though_what_it_started_holds_its_pipes() -> None:
    started = time.monotonic()
    assert process.run(["sh", "-c", "sleep 60 & kill -9 $$"], idle_s=50).exit_code == -9
    assert time.monotonic() - started < 30


def test_what_a_grandchild_moves_counts() -> None:
    script = "timeout 2 cat /dev/zero >/dev/null; exit 7"
    assert process.run(["sh", "-c", script], idle_s=1.5).exit_code == 7


def test_each_line_of_standard_error_is_handed_on() -> None:
    lines: list[bytes] = []
    process.run(["sh", "-c", "seq 20000 >&2; printf end >&2"], on_error=lines.append)
    assert lines == [b"%d" % number for number in range(1, 20001)] + [b"end"]


def test_grandchildren_are_ended_with_their_group(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(ProgramFailed):
        run(["sh", "-c", f"sleep 60 & echo $! > {note}; wait"], timeout_s=0.5)
    assert is_gone(int(note.read_text()))


def test_a_grandchild_that_is_left_behind_is_ended_too(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    run(["sh", "-c", f"sleep 60 >/dev/null 2>&1 </dev/null & echo $! > {note}"]).check()
    assert is_gone(int(note.read_text()))


def test_a_program_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_TERM_GRACE_S", 0.2)
    argv = python("signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(ProgramFailed):
        run(argv, timeout_s=1)
    assert time.monotonic() - started < 10


def test_an_exception_of_the_line_taker_ends_the_program() -> None:
    pids: list[int] = []

    def stop(line: bytes) -> None:
        pids.append(int(line))
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        run(python("print(os.getpid(), flush=True); time.sleep(60)"), on_line=stop)
    assert is_gone(pids[0])


def test_output_is_bounded_at_its_start_and_errors_at_their_end() -> None:
    line = "sys.stdout.write('a' + 'o' * 500000); sys.stderr.write('e' * 500000 + 'z')"
    result = run(python(line))
    assert len(result.output) == MAX_OUTPUT and result.output[:1] == b"a"
    assert len(result.errors) == MAX_OUTPUT and result.errors[-1] == "z"


def test_much_input_and_much_output_at_once_do_not_block_each_other() -> None:
    text = b"line of text\n" * 400_000
    lines = 0

    def count(_: bytes) -> None:
        nonlocal lines
        lines += 1

    run(["cat"], stdin=text, on_line=count, timeout_s=60).check()
    assert lines == 400_000


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert run(["true"], stdin=b"x" * 5_000_000, timeout_s=30).exit_code == 0


def test_the_last_line_counts_without_its_end() -> None:
    lines: list[bytes] = []
    run(["printf", r"one\ntwo\n\nlast"], on_line=lines.append)
    assert lines == [b"one", b"two", b"", b"last"]


@pytest.mark.parametrize("redirection", ["", " >&2"])
def test_of_a_line_without_an_end_only_its_beginning_is_kept(redirection: str) -> None:
    lines: list[bytes] = []
    script = f"{{ head -c 20000000 /dev/zero; printf 'x\\nlast'; }}{redirection}"
    run(["sh", "-c", script], on_line=lines.append, on_error=lines.append, timeout_s=60)
    long, last = filter(None, lines)
    assert long.startswith(b"\0" * 100_000) and len(long) < 2_000_000 and last == b"last"


def test_a_signal_that_ended_a_program_is_a_negative_code() -> None:
    assert run(["sh", "-c", "kill -9 $$"]).exit_code == -9


def test_a_program_in_the_background_ends_with_the_block(tmp_path: Path) -> None:
    with background(["sh", "-c", "echo here; sleep 60"], log=tmp_path / "log") as child:
        pid = child.pid
        assert child.poll() is None
        os.kill(pid, 0)
    assert is_gone(pid)
