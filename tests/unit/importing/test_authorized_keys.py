from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.importing.authorized_keys import Pusher, read_pushers

KEY = "ssh-ed25519 AAAAC3Nz pusher@hub"
PROGRAM = ("/usr/local/bin/pushmirror",)


def pushers(directory: Path, *lines: str) -> tuple[Pusher, ...]:
    file = directory / "authorized_keys"
    file.write_text("\n".join(lines) + "\n")
    return read_pushers(file)


NEW = [
    ('command="~/bin/ftpsync"', 'command="/usr/local/bin/pushmirror receive"'),
    (
        'command="ftpsync",no-pty,from="192.0.2.1,*.example.org"',
        'from="192.0.2.1,*.example.org",command="/usr/local/bin/pushmirror receive"',
    ),
    ('from="::1",restrict,command="ftpsync"', 'from="::1",command="/usr/local/bin/pushmirror receive"'),
    (
        'command="/usr/bin/ftpsync -T hub"',
        'command="/usr/local/bin/pushmirror receive -T hub"',
    ),
    (
        'command="ftpsync-security"',
        'command="/usr/local/bin/pushmirror receive sync:archive:security"',
    ),
    (
        'command="ftpsync sync:archive:a sync:archive:b sync:all"',
        'command="/usr/local/bin/pushmirror receive sync:all sync:archive:b"',
    ),
    (
        'cert-authority,principals="hub,other",command="ftpsync"',
        'cert-authority,principals="hub,other",command="/usr/local/bin/pushmirror receive"',
    ),
    (
        'command="env A=\\"b c\\" ~/bin/ftpsync",expiry-time="20300101"',
        'expiry-time="20300101",command="/usr/local/bin/pushmirror receive"',
    ),
]


@pytest.mark.parametrize(("options", "new"), NEW)
def test_the_line_that_takes_the_place_of_a_pushers(tmp_path, options, new):
    (pusher,) = pushers(tmp_path, "", f"{options} {KEY}")
    assert (pusher.line(PROGRAM), pusher.place) == (f"restrict,{new} {KEY}", f"{tmp_path}/authorized_keys:2")


@pytest.mark.parametrize(
    "line",
    ["", f"# {KEY}", KEY, f'command="backup" {KEY}', f"no-pty {KEY}", 'command="ftpsync" nokey', "x\0"],
)
def test_other_lines_are_not_looked_at(tmp_path, line):
    assert pushers(tmp_path, line) == ()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ('command="ftpsync"', "works from any address"),
        ('from="a",command="nice -n 19 ftpsync"', "nice -n 19 before the command"),
        ('from="a",command="ftpsync >/dev/null"', "'>/dev/null' after the command"),
        ('from="a",pty,command="ftpsync"', "pty is left out"),
    ],
)
def test_what_the_new_line_does_not_have_is_told(tmp_path, options, told):
    (pusher,) = pushers(tmp_path, f"{options} {KEY}")
    assert [told in warning for warning in pusher.warnings] == [True]


def test_a_variable_of_a_line_is_told_by_its_name_only(tmp_path):
    line = f'from="a",environment="RSYNC_PASSWORD=hunter2",command="ftpsync" {KEY}'
    (pusher,) = pushers(tmp_path, line)
    assert "environment is left out" in pusher.warnings[0] and "hunter2" not in repr(pusher)
