from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from pushmirror.checks import incoming_push
from pushmirror.checks.finding import Finding
from pushmirror.checks.incoming_push import Account, forced_commands, judge
from pushmirror.status.words import Level

KEY = "ssh-ed25519 AAAAC3Nz hub.example.org"


@pytest.fixture
def account(tmp_path: Path) -> Account:
    """The user of this test, whose home has a key that starts an executable pushmirror."""
    me = pwd.getpwuid(os.geteuid())
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    home.chmod(0o755), (home / ".ssh").chmod(0o700)
    (home / "pushmirror").write_text("#!/bin/sh\n")
    (home / "pushmirror").chmod(0o755)
    lines(home, f'restrict,from="192.0.2.7",command="{home}/pushmirror receive" {KEY}')
    return Account(me.pw_name, me.pw_uid, frozenset({me.pw_gid}), home, "/bin/sh")


def lines(home: Path, *text: str) -> None:
    file = home / ".ssh/authorized_keys"
    file.write_text("".join(f"{line}\n" for line in text))
    file.chmod(0o600)


def found(account: Account, **sshd: str) -> list[Finding]:
    return list(judge(account, sshd))


def the_error(account: Account, **sshd: str) -> Finding:
    (one,) = (one for one in found(account, **sshd) if one.level is Level.ERROR)
    return one


def test_a_key_that_starts_a_sync_is_in_order(account):
    (one,) = found(account)
    assert one.level is Level.OK and one.found.endswith(
        "line 1: a key starts " + f"{account.home}/pushmirror receive"
    )


def test_keys_that_the_user_itself_cannot_read_let_nobody_in(account):
    (account.home / ".ssh").chmod(0o755)  # of another user, with mode 0600: sshd reads it as the user
    one = the_error(replace(account, name="mirror", uid=54321, groups=frozenset()))
    assert "authorized_keys as mirror, who has no permission" in one.found and "chown mirror" in one.todo


def test_a_directory_that_the_user_cannot_enter_lets_nobody_in(account):
    one = the_error(replace(account, name="mirror", uid=54321, groups=frozenset()))
    assert one.found == f"mirror cannot enter {account.home}/.ssh, so sshd finds no keys"


@pytest.mark.parametrize("part", ["", ".ssh", ".ssh/authorized_keys"])
def test_what_others_may_write_is_ignored_by_sshd(account, part):
    place = account.home / part
    place.chmod(0o777)
    one = the_error(account)
    assert (
        one.found.startswith(f"{place} can be written by others (mode 0777)")
        and one.todo == f"chmod go-w {place}"
    )


def test_above_the_home_nothing_counts(account):
    account.home.parent.chmod(0o777)
    assert [one.level for one in found(account)] == [Level.OK]


def test_without_strict_modes_only_reading_counts(account):
    account.home.chmod(0o777)
    assert [one.level for one in found(account, strictmodes="no")] == [Level.OK]


def test_a_forced_command_that_is_not_there_or_cannot_be_run_is_an_error(account):
    (account.home / "pushmirror").chmod(0o644)
    assert "cannot run its forced command" in the_error(account).found
    (account.home / "pushmirror").unlink()
    assert the_error(account).found.endswith(f"its forced command {account.home}/pushmirror was not found")


def test_a_user_without_a_shell_runs_no_forced_command(account):
    one = the_error(replace(account, login_shell="/usr/sbin/nologin"))
    assert "/usr/sbin/nologin" in one.found and one.todo.startswith("chsh -s /bin/sh")


@pytest.mark.parametrize(
    ("name", "value"),
    [("pubkeyauthentication", "no"), ("denyusers", "*"), ("allowusers", "somebody else@192.0.2.1")],
)
def test_what_sshd_itself_says_keeps_a_user_out(account, name, value):
    assert the_error(account, **{name: value}).level is Level.ERROR


def test_the_file_is_where_sshd_says_it_is(account, tmp_path):
    (account.home / ".ssh/authorized_keys").rename(account.home / "keys")
    (one,) = found(account, authorizedkeysfile="%h/keys none")
    assert f"{account.home}/keys, line 1" in one.found


def test_that_nobody_can_push_is_said_and_no_error(account):
    lines(account.home, f"restrict {KEY}")
    (one,) = found(account)
    assert one.level is Level.OK and "no hub can push to this machine" in one.found


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (f'command="/usr/bin/ftpsync",no-pty {KEY}', "/usr/bin/ftpsync"),
        (f'command="~/bin/ftpsync-security sync:all" {KEY}', "~/bin/ftpsync-security sync:all"),
        (f'restrict,command="pushmirror \\"receive\\"" {KEY}', 'pushmirror "receive"'),
        (f'command="/usr/bin/rrsync /srv" {KEY}', None),
        (f'#command="/usr/bin/ftpsync" {KEY}', None),
        (KEY, None),
    ],
)
def test_lines_that_start_a_sync_are_told_from_others(line, command):
    assert [one.command for one in forced_commands(line)] == ([command] if command else [])


def test_sshd_is_asked_where_that_is_allowed_and_else_says_nothing(account):
    said = incoming_push.sshd_says(account)
    assert said == {} or "pubkeyauthentication" in said
