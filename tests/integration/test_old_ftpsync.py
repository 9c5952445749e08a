"""Our ftpsync as it is called: what it says, what it leaves, and who it outlives.

That it does as the real one does is shown in test_ftpsync_cases and test_archvsync_bugs.
"""

from __future__ import annotations

import email
import email.policy
import os
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from acceptance.calls import Call
from acceptance.gate import Gate
from pushmirror.lab.services import wait_until
from pushmirror.system import locks, process
from side_by_side import Home, Side
from support.rsync_daemon import RsyncDaemon

MIRROR = "mirror.example.org"
TRACE = f"project/trace/{MIRROR}"


@pytest.fixture
def home(tmp_path: Path, daemon: RsyncDaemon) -> Home:
    """Below a small plain tree that takes a password."""
    upstream = tmp_path / "upstream"
    (upstream / "project/trace").mkdir(parents=True)
    (upstream / "README").write_text("read me\n")
    (upstream / "project/trace/master").write_text("Sun Nov 22 00:00:00 UTC 2026\nArchive serial: 1\n")
    daemon.add_module("debian", upstream, {"site": "hidden"})
    home = Home(tmp_path, Side.OURS)
    configure(home, daemon)
    return home


def configure(home: Home, daemon: RsyncDaemon, **more: str) -> None:
    login = {"RSYNC_HOST": "127.0.0.1", "RSYNC_USER": "site", "RSYNC_PASSWORD": "hidden"}
    place = {"RSYNC_EXTRA": f"--port={daemon.port}", "TO": f"{home.tree}/", "MIRRORNAME": MIRROR}
    told = {**login, **place, "MAILTO": "mirror-admin", **more}
    home.configure("".join(f"{name}={shlex.quote(value)}\n" for name, value in told.items()))


@pytest.fixture
def gate(tmp_path: Path, home: Home, daemon: RsyncDaemon) -> Gate:
    """Stands in HOOK1; HOOK4 writes a line each time."""
    gate = Gate(tmp_path / "gate")
    first = home.add_program("first", f"#!/bin/sh\nexec {shlex.join(gate.hook)}\n")
    fourth = home.add_program("fourth", '#!/bin/sh\necho called >>"$HOME/fourth"\n')
    configure(home, daemon, HOOK1=str(first), HOOK4=str(fourth))
    return gate


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_v_says_which_configuration_was_read_and_what_is_left_out(home: Home, daemon: RsyncDaemon) -> None:
    configure(home, daemon, LOCKTIMEOUT="1")
    ended = home.run("-v")
    assert ended.exit_code == 0
    assert f"configuration: {home.etc}/ftpsync.conf\n" in ended.said
    assert "warning: LOCKTIMEOUT" in ended.said


def test_a_dry_run_says_what_a_run_would_do_and_does_nothing(home: Home) -> None:
    ended = home.run("--dry-run")
    assert ended.exit_code == 0 and "configuration: " in ended.said and "fetch README" in ended.said
    assert not home.tree.exists() and home.calls("sendmail") == []


def test_a_configuration_may_have_commands(home: Home) -> None:
    with (home.etc / "ftpsync.conf").open("a") as file:
        file.write("if true; then INFO_LOCATION=here; fi\n")
    assert home.run().exit_code == 0
    assert "Location: here\n" in (home.text(TRACE) or "")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_need_no_configuration(home: Home, option: str) -> None:
    (home.etc / "ftpsync.conf").unlink()
    ended = home.run(option)
    assert (ended.exit_code, "ftpsync" in ended.said) == (0, True)


def test_a_run_says_nothing(home: Home) -> None:
    ended = home.run()
    assert (ended.exit_code, ended.said) == (0, "")


def test_nobody_has_to_listen(home: Home) -> None:
    argv = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *home.argv("what", "sync:all")]
    assert process.run(argv, env=home.env(), timeout_s=60).exit_code == 0
    assert home.text("README") == "read me\n"


def test_a_push_outlives_its_connection(home: Home, gate: Gate, stack: ExitStack) -> None:
    with gate.closed():
        call = Call(stack.enter_context(home.running()))
        gate.wait_for()
        os.kill(call.pid, signal.SIGHUP)
    assert call.exit_code() == 0
    assert home.text("README") == "read me\n"


def test_the_password_is_in_a_file_that_only_we_can_read(home: Home) -> None:
    assert home.run().exit_code == 0
    (secret,) = home.home.rglob("*.secret")
    assert (secret.stat().st_mode & 0o777, secret.read_text()) == (0o600, "hidden\n")
    logs = "".join(log.read_text() for log in home.home.rglob("*.log*"))
    assert "Mirrorsync done" in logs and "hidden" not in logs


def test_what_follows_a_run_follows_it_once_for_all_whom_it_served(
    home: Home, gate: Gate, stack: ExitStack
) -> None:
    with gate.closed():
        calls = [Call(stack.enter_context(home.running()))]
        gate.wait_for()
        for number in (2, 3):
            calls.append(Call(stack.enter_context(home.running())))
            assert wait_until(lambda number=number: home.requests() == number)
    assert [call.exit_code() for call in calls] == [0, 0, 0]
    assert (home.home / "fourth").read_text() == "called\n" * 2


def test_another_one_takes_over_when_who_follows_a_run_is_killed(
    home: Home, gate: Gate, daemon: RsyncDaemon, tmp_path: Path, stack: ExitStack
) -> None:
    first = home.add_program("first", f"#!/bin/sh\nexec {shlex.join(gate.hook)}\n")
    held = tmp_path / "held"
    held.mkdir()
    fourth = home.add_program(
        "fourth", f'#!/bin/sh\necho $PPID >>"$HOME/followers"\nexec flock --timeout 60 {held} true\n'
    )
    configure(home, daemon, HOOK1=str(first), HOOK4=str(fourth))
    file = home.home / "followers"
    file.touch()

    def followers() -> list[int]:
        return [int(pid) for pid in file.read_text().split()]

    with locks.locked(held):
        with gate.closed():
            calls = [Call(stack.enter_context(home.running()))]
            gate.wait_for()
            for number in (2, 3):
                calls.append(Call(stack.enter_context(home.running())))
                assert wait_until(lambda number=number: home.requests() == number)
        assert wait_until(lambda: len(followers()) == 2)  # of the first run and of the second, in any order
        (killed,) = {*followers()} - {calls[0].pid}
        os.kill(killed, signal.SIGTERM)
        assert wait_until(lambda: len(followers()) == 3)
    codes = {call.pid: call.exit_code() for call in calls}
    assert codes[killed] == 143 and sorted(codes.values()) == [0, 0, 143]
    assert "stopped by SIGTERM" in home.log() and "Mirrorsync done with errors" in home.log()


def test_cron_makes_up_for_what_did_not_follow_the_last_run(home: Home, daemon: RsyncDaemon) -> None:
    script = '#!/bin/sh\necho >>"$HOME/called"; [ "$(wc -l <"$HOME/called")" -gt 1 ]\n'
    configure(home, daemon, HOOK4=str(home.add_program("fourth", script)))
    assert home.run().exit_code == 1
    assert [home.run(name="ftpsync-cron").exit_code for _ in range(2)] == [0, 0]
    assert (home.home / "called").read_text() == "\n" * 2


def test_cron_waits_for_no_run(home: Home, gate: Gate, stack: ExitStack) -> None:
    with gate.closed():
        call = Call(stack.enter_context(home.running()))
        gate.wait_for()
        assert home.run(name="ftpsync-cron").exit_code == 0
        assert call.running and home.requests() == 1
    assert call.exit_code() == 0


def test_withheld_deletions_are_mailed_with_a_way_out_that_works(home: Home, daemon: RsyncDaemon) -> None:
    mailer = home.add_program("mailer", '#!/bin/sh\ncat >>"$HOME/mails"\n')
    (home.tree / "stray").mkdir(parents=True)
    for number in range(3):
        (home.tree / "stray" / str(number)).touch()
    configure(home, daemon, RSYNC_OPTIONS2="--max-delete=2 --delete")
    assert home.run(env={"SENDMAIL": str(mailer)}).exit_code == 0
    letter = email.message_from_bytes((home.home / "mails").read_bytes(), policy=email.policy.default)
    assert "ERROR: Nothing was deleted" in letter["Subject"]
    (wanted,) = re.findall('RSYNC_OPTIONS2="(.*)"', letter.get_content())
    configure(home, daemon, RSYNC_OPTIONS2=wanted)
    assert home.run().exit_code == 0 and not (home.tree / "stray").exists()


def test_hooks_are_run_where_the_script_runs_them_and_told_by_their_numbers(
    home: Home, daemon: RsyncDaemon
) -> None:
    fourth = home.add_program("fourth", "#!/bin/sh\npwd >here; exit 7\n")
    configure(home, daemon, HOOK1="true", HOOK4=str(fourth))
    assert home.run(env={"BASEDIR": str(home.etc)}).exit_code == 7
    assert (home.etc / "here").read_text() == f"{home.etc}\n"
    assert not (home.tree / "here").exists()
    log = home.log()
    assert "Running hook 1: true" in log and "Back from hook 1, got returncode 0" in log
    assert "Back from hook 4, got returncode 7" in log and "before_" not in log
    assert len(home.calls("sendmail")) == 2  # the hook's, and that of the end
    assert log.count("published") == 1


def test_what_ends_a_run_before_it_has_begun_is_in_the_log(home: Home, daemon: RsyncDaemon) -> None:
    configure(home, daemon, RSYNC_PASSWORD="")
    assert home.run(env={"PUSHMIRROR_STATE": "/dev/null/state"}).exit_code == 1
    first, *why, last = (line.partition("]: ")[2] for line in home.log().splitlines())
    assert (first, last) == ("Mirrorsync start", "Mirrorsync done with errors")
    assert any("/dev/null/state" in line for line in why)


def test_a_mirror_that_was_emptied_is_filled_again(home: Home) -> None:
    assert home.run().exit_code == 0
    process.run(["sh", "-c", 'rm -r "$1"/*', "sh", str(home.tree)]).check()
    assert home.run().exit_code == 0
    assert home.text("README") == "read me\n"


def test_a_link_in_the_place_of_the_traces_leads_nobody_out(home: Home, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    home.tree.mkdir()
    (home.tree / "project").symlink_to(tmp_path / "outside")
    assert home.run().exit_code == 0
    assert home.text(TRACE) and list((tmp_path / "outside").iterdir()) == []
