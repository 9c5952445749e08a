"""The command line of the program ssh, and what its failures mean."""

from pathlib import Path
from typing import Any

import pytest

from pushmirror.config.model import Push, Site
from pushmirror.errors import HostKeyChanged, TriggerFailed
from pushmirror.push.ssh.connect import Endpoint
from pushmirror.push.ssh.openssh import failure, ssh_argv

WORDS = " sync:archive:debian sync:stage1"
PUSH = Push(key=Path("/keys/push"))


def site(**options: Any) -> Site:
    values = {"name": "site1", "host": "site1.example.com", "user": "archvsync", "archives": ("debian",)}
    return Site(**{**values, **options})


def argv(known_hosts: str = "/state/known_hosts", **options: Any) -> list[str]:
    return ssh_argv(site(**options), PUSH, Path(known_hosts), WORDS)


def test_the_command_line_is_that_of_runmirrors_but_for_the_host_keys() -> None:
    assert argv(ssh_options=("-4",)) == [
        *("ssh", "-n", "-T", "-4", "-o", "User=archvsync", "-o", "BatchMode=yes"),
        *("-o", "ServerAliveInterval=45", "-o", "ConnectTimeout=45", "-o", "PasswordAuthentication=no"),
        *("-o", 'UserKnownHostsFile="/state/known_hosts"', "-o", "StrictHostKeyChecking=accept-new"),
        *("-i", "/keys/push", "--", "site1.example.com", WORDS),
    ]


def test_the_operators_options_come_first_because_the_first_one_wins() -> None:
    words = argv(ssh_options=("-o", "ConnectTimeout=5"))
    assert words.index("ConnectTimeout=5") < words.index("ConnectTimeout=45")


def test_a_port_is_only_given_when_the_site_has_one() -> None:
    assert "Port=2222" in argv(port=2222) and not any(word.startswith("Port") for word in argv())


def test_a_site_may_have_a_key_of_its_own() -> None:
    words = argv(key=Path("/keys/site1"))
    assert words[words.index("-i") + 1] == "/keys/site1"


def test_the_name_of_the_file_has_no_meaning_to_ssh() -> None:
    assert 'UserKnownHostsFile="/my state/100%%/known_hosts"' in argv("/my state/100%/known_hosts")


CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
The fingerprint for the ED25519 key sent by the remote host is
SHA256:0123456789012345678901234567890123456789abc.
Offending ED25519 key in /state/known_hosts:3
Host key verification failed.
"""


def told(output: str) -> TriggerFailed:
    return failure(Endpoint.of(site(), PUSH), output)


def test_a_changed_host_key_is_known_by_the_words_of_ssh() -> None:
    error = told(CHANGED)
    assert isinstance(error, HostKeyChanged) and "/state/known_hosts:3" in str(error)
    assert "SHA256:0123456789012345678901234567890123456789abc," in str(error)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("warning\nssh: connect to host x port 22: Connection refused\r\n\n", "Connection refused"),
        ("\x1b[31mred\x1b[0m\n", "?[31mred?[0m"),
        ("", "no error output"),
    ],
)
def test_another_failure_is_told_by_the_last_line_of_ssh(output: str, said: str) -> None:
    error = told(output)
    assert str(error).startswith("site site1 (site1.example.com:22): ssh failed: ")
    assert str(error).endswith(said) and not isinstance(error, HostKeyChanged)


def test_a_site_that_does_not_know_the_key_is_to_be_sent_its_line() -> None:
    error = told("archvsync@site1.example.com: Permission denied (publickey).\n")
    assert (error.hint or "").startswith("send its operator the line that `pushmirror site kit site1` prints")
