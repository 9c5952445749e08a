"""`pushmirror check --site` through a real sshd to what there is at sites: ftpsync, pushmirror, a shell."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.config.loader import load
from pushmirror.lab.services import Sshd, free_port, new_key
from pushmirror.push.ssh import known_hosts
from pushmirror.system import process
from trees import snapshot

FTPSYNC = "/usr/bin/ftpsync"
HUB = """\
[archives.debian]
path = "{0}/tree"
[push]
key = "{0}/key"
addresses = ["127.0.0.1"]
[state]
directory = "{0}/state"
"""
#: Of a site that would sync from nowhere into its home.
FTPSYNC_CONF = """\
MIRRORNAME=a.example
TO={home}/mirror/
RSYNC_HOST=127.0.0.1
RSYNC_PATH=debian
RSYNC_OPTIONS1="--port={port}"
MAILTO=
"""


class Hub:
    """A hub with one site, `a.example`, behind a real sshd."""

    def __init__(self, directory: Path, sshd: Sshd) -> None:
        self.directory = directory
        self.sshd = sshd
        self.public = new_key(directory / "key")
        (directory / "pushmirror.toml").write_text(HUB.format(directory))
        (directory / "sites.d").mkdir()
        self.site()

    def site(self, **keys: object) -> None:
        """Write the site's file."""
        told: dict[str, object] = {"host": "127.0.0.1", "port": self.sshd.port, "user": self.sshd.user}
        told |= {"archives": ["debian"], **keys}
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items())
        (self.directory / "sites.d/a.example.toml").write_text(text)

    def check(self, name: str = "a.example") -> process.Result:
        argv = [sys.executable, "-m", "pushmirror", "--config", str(self.directory)]
        return process.run([*argv, "check", "--json", "--site", name], timeout_s=120)

    def found(self) -> dict[str, tuple[str, str, str]]:
        """What was found by subject: its level, the words, and what to do."""
        result = self.check()
        findings = json.loads(result.output)
        assert result.exit_code == (1 if any(one["level"] == "error" for one in findings) else 0)
        return {one["subject"]: (one["level"], one["found"], one["todo"]) for one in findings}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Sshd(tmp_path / "sshd") as sshd:
        (tmp_path / "hub").mkdir()
        yield Hub(tmp_path / "hub", sshd)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a user who has a configured ftpsync."""
    if not Path(FTPSYNC).exists():
        pytest.skip("needs Debian's package ftpsync")
    home = tmp_path / "home"
    (home / ".config/ftpsync").mkdir(parents=True)
    text = FTPSYNC_CONF.format(home=home, port=free_port())
    (home / ".config/ftpsync/ftpsync.conf").write_text(text)
    return home


def say(hub: Hub, words: str) -> process.Result:
    return process.run([*hub.sshd.ssh_argv(hub.directory / "key"), words], timeout_s=60)


def test_a_real_ftpsync_is_known_and_does_nothing(hub: Hub, home: Path) -> None:
    hub.sshd.authorize(hub.public, command=f"env HOME={home} {FTPSYNC}", options=("restrict",))
    before = snapshot(home)
    level, said, _ = hub.found()["login at a.example"]
    assert (level, said) == ("ok", "key accepted; it starts ftpsync")
    assert snapshot(home) == before
    say(hub, " sync:all")
    assert snapshot(home) != before  # whereas a true push leaves its traces


def test_a_real_ftpsync_with_an_archive_in_its_forced_command_was_woken(hub: Hub, home: Path) -> None:
    command = f"env HOME={home} {FTPSYNC} sync:archive:"  # which its ftpsync.conf is for
    hub.sshd.authorize(hub.public, command=command, options=("restrict",))
    level, said, _ = hub.found()["login at a.example"]
    assert level == "warning" and "like a push, and it failed; exit code" in said


def test_a_pushmirror_is_known_and_tells_its_time(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/pushmirror.toml").write_text(HUB.format(tmp_path / "site"))
    receive = shlex.join([sys.executable, "-m", "pushmirror", "--config", str(tmp_path / "site"), "receive"])
    hub.sshd.authorize(hub.public, command=receive, options=("restrict",))
    found = hub.found()
    assert found["login at a.example"][1].startswith("key accepted; it starts pushmirror ")
    assert found["clock of a.example"][:2] == ("ok", "the same as ours")
    assert not (tmp_path / "site/state").exists() and not (tmp_path / "site/tree").exists()


def test_a_key_that_is_not_limited_to_a_command_is_an_error(hub: Hub) -> None:
    hub.sshd.authorize(hub.public)
    level, said, todo = hub.found()["login at a.example"]
    assert level == "error" and "not limited to a forced command" in said
    assert "pushmirror site kit a.example" in todo


def test_a_forced_command_that_is_not_there_is_an_error(hub: Hub) -> None:
    hub.sshd.authorize(hub.public, command="/nonexistent/ftpsync")
    level, said, _ = hub.found()["login at a.example"]
    assert level == "error" and "forced command cannot be run" in said


def test_a_key_that_is_not_authorized_is_an_error_with_what_to_send(hub: Hub) -> None:
    level, _, todo = hub.found()["login at a.example"]
    assert level == "error"
    assert "authorized_keys" in todo and "pushmirror site kit a.example" in todo


def test_a_new_host_key_is_shown_and_not_pinned(hub: Hub) -> None:
    hub.sshd.authorize(hub.public, command="true")
    level, said, todo = hub.found()["host key of a.example"]
    assert level == "warning" and said.startswith("SHA256:") and "ssh-keygen -lf" in todo
    assert not load(hub.directory).known_hosts.exists()


def pin(hub: Hub, line: str) -> None:
    file = load(hub.directory).known_hosts
    file.parent.mkdir()
    file.write_text(f"{known_hosts.entry_name('127.0.0.1', hub.sshd.port)} {line}\n")


def test_a_pinned_host_key_is_fine(hub: Hub) -> None:
    pin(hub, hub.sshd.host_key)
    level, said, _ = hub.found()["host key of a.example"]
    assert level == "ok" and said.endswith(", as stored")


def test_a_changed_host_key_is_an_error_with_both_fingerprints(hub: Hub, tmp_path: Path) -> None:
    hub.sshd.authorize(hub.public, command="true")
    pin(hub, new_key(tmp_path / "other"))
    found = hub.found()
    level, said, todo = found["host key of a.example"]
    assert level == "error" and said.count("SHA256:") == 2 and "ssh-keygen -f" in todo
    assert "login at a.example" not in found


def test_a_port_where_nothing_answers_is_an_error(hub: Hub) -> None:
    hub.site(port=free_port())
    found = hub.found()
    assert found["name of a.example"][:2] == ("ok", "127.0.0.1 is an address")
    assert found["port of a.example"][0] == "error"
    assert "host key of a.example" not in found


def test_a_site_with_options_for_the_program_ssh_is_looked_at_through_it(hub: Hub) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("needs the program ssh")
    hub.sshd.authorize(hub.public, command="echo nobody; exit 3")
    hub.site(ssh_options=["-o", "Compression=no"])
    level, said, _ = hub.found()["login at a.example"]
    assert (level, said.rpartition("; ")[2]) == ("warning", "exit code 3: nobody")


def test_all_sites_can_be_asked_for(hub: Hub) -> None:
    assert json.loads(hub.check("all").output) == json.loads(hub.check().output)


def test_a_site_that_is_not_there_is_a_wrong_call(hub: Hub) -> None:
    result = hub.check("b.example")
    assert result.exit_code == 64 and "there is no site 'b.example'" in result.errors
