"""Our ftpsync as it is called: what it says, what it leaves, and who it outlives.

That it does as the real one does is shown in test_ftpsync_cases and test_archvsync_bugs.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from acceptance.calls import Call
from acceptance.gate import Gate
from pushmirror.lab.daemon import RsyncDaemon
from pushmirror.lab.service import wait_until
from pushmirror.system import process
from side_by_side import Home, Side

MIRROR = "mirror.example.org"
TRACE = f"project/trace/{MIRROR}"


@pytest.fixture
def home(tmp_path: Path, daemon: RsyncDaemon) -> Home:
    """Below a small plain tree that takes a password."""
    upstream = tmp_path / "upstream"
    (upstream / "project/trace").mkdir(parents=True)
    (upstream / "README").write_text("read me\n")
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


def test_v_says_how_the_configuration_was_read_and_what_is_left_out(home: Home, daemon: RsyncDaemon) -> None:
    configure(home, daemon, LOCKTIMEOUT="1")
    ended = home.run("-v")
    assert ended.exit_code == 0
    assert "ftpsync.conf was read by pushmirror\n" in ended.said
    assert "warning: LOCKTIMEOUT" in ended.said


def test_v_says_why_bash_was_asked(home: Home) -> None:
    with (home.etc / "ftpsync.conf").open("a") as file:
        file.write("if true; then INFO_LOCATION=here; fi\n")
    assert "was read by bash: line" in home.run("-v").said
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


def test_a_mirror_that_was_emptied_is_filled_again(home: Home) -> None:
    assert home.run().exit_code == 0
    process.run(["sh", "-c", 'rm -r "$1"/*', "sh", str(home.tree)]).check()
    assert home.run().exit_code == 0
    assert home.text("README") == "read me\n"
