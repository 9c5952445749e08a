"""`pushmirror serve` as a hub's operator runs it, with the real rsync, sshd and signals."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from pushmirror.lab.service import free_port, listens, says, wait_until
from pushmirror.lab.site import LabSite
from pushmirror.lab.sshd import Sshd, new_key
from pushmirror.system import process

ANSWER = """#!/bin/sh
echo "$SSH_ORIGINAL_COMMAND" >>{log}
test -e {up}
"""
Serving = Callable[..., AbstractContextManager[process.Background]]


class HubHere(LabSite):
    """The owner of a plain tree, with a port for its rsync daemon."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        super().__init__(directory, upstream="")
        self.tree.mkdir()
        (self.tree / "file").write_text("content")

    def configure(self, **options: object) -> None:  # noqa: ARG002  as any lab site
        """Write a hub's configuration."""
        (self.etc / "pushmirror.toml").write_text(
            f'[archives.debian]\npath = "{self.tree}"\n'
            f'[push]\nkey = "{self.directory}/key"\nretry_after = "1s"\nretry_at_most = "1s"\n'
            f'[serve]\nhost = "127.0.0.1"\nrsync = "127.0.0.1:{self.port}"\n'
            f'[state]\ndirectory = "{self.state}"\n'
        )

    def add_site(self, name: str, port: int, user: str) -> dict[str, str]:
        """Add a site; user, password and the rest of its kit."""
        words = ("--host", "127.0.0.1", "--port", str(port), "--user", user, "--archive", "debian")
        added = self.run("site", "add", name, *words, "--push", "all", "--json").check()
        kit: dict[str, str] = json.loads(added.output)
        return kit

    def phases(self) -> dict[str, str]:
        """What each site is doing."""
        shown = self.run("push", "--dry-run", "--json").check()
        return {one["site"]: one["phase"] for one in json.loads(shown.output)}


@pytest.fixture
def hub(tmp_path: Path) -> HubHere:
    return HubHere(tmp_path / "hub")


@pytest.fixture
def serving(hub: HubHere) -> Serving:
    """Runs `serve` and waits until its rsync daemon answers."""

    @contextmanager
    def serving(*words: str) -> Iterator[process.Background]:
        with hub.running("serve", *words) as served:
            assert wait_until(lambda: says(hub.port, b"@RSYNCD:") or served.poll() is not None)
            assert served.poll() is None, (hub.directory / "output.log").read_text()
            yield served

    return serving


@pytest.fixture
def site(tmp_path: Path, hub: HubHere) -> Iterator[Sshd]:
    """A site that fails until the file `up` is there, and notes what it is told in `told`."""
    script = tmp_path / "answer"
    script.write_text(ANSWER.format(log=tmp_path / "told", up=tmp_path / "up"))
    script.chmod(0o755)
    with Sshd(tmp_path / "sshd") as sshd:
        sshd.authorize(new_key(hub.directory / "key"), command=str(script), options=("restrict",))
        yield sshd


def listing(hub: HubHere, kit: dict[str, str]) -> process.Result:
    """What a site sees of the archive with its user and password."""
    url = f"rsync://{kit['user']}@127.0.0.1:{hub.port}/debian/"
    return process.run(["rsync", url], env={"RSYNC_PASSWORD": kit["password"]}, timeout_s=20)


def test_a_site_that_is_added_while_it_serves_gets_in_at_once(hub, serving):
    with serving("--no-push"):
        kit = hub.add_site("a.example.org", 22, "u")
        assert b"file" in listing(hub, kit).check().output
        assert listing(hub, {**kit, "password": "wrong"}).exit_code == 5


def test_a_site_that_failed_is_woken_again_until_it_is_current(hub, serving, site, tmp_path):
    hub.sync("--no-push").check()
    hub.add_site("a.example.org", site.port, site.user)
    with serving():
        assert wait_until(lambda: len(_told(tmp_path)) >= 2, limit_s=60)  # failed, and failed again
        (tmp_path / "up").touch()
        assert wait_until(lambda: hub.phases() == {"a.example.org": "current"}, limit_s=60)
    assert set(_told(tmp_path)) == {" sync:archive:debian sync:all"}


def test_what_a_sync_publishes_while_it_serves_is_pushed(hub, serving, site, tmp_path):
    (tmp_path / "up").touch()
    hub.add_site("a.example.org", site.port, site.user)
    with serving():
        for content in ("one", "another"):
            (hub.tree / "file").write_text(content)
            hub.sync().check()
            assert wait_until(lambda: hub.phases() == {"a.example.org": "current"}, limit_s=60)
    assert len(_told(tmp_path)) == 2


def _told(tmp_path: Path) -> list[str]:
    told = tmp_path / "told"
    return told.read_text().splitlines() if told.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_daemon_is_gone_when_it_is_ended(hub, serving, number):
    with serving() as served:
        daemon = _daemon_of(hub)
        os.kill(served.pid, number)
        assert wait_until(lambda: served.poll() is not None and not Path(f"/proc/{daemon}").exists())
    assert served.poll() == (143 if number == signal.SIGTERM else -9)
    assert not says(hub.port, b"@RSYNCD:")


def test_a_daemon_that_ends_is_started_again(hub, serving):
    with serving():
        daemon = _daemon_of(hub)
        assert wait_until(lambda: _age_s(daemon) > 6, limit_s=60)  # it has come up for good
        os.kill(daemon, signal.SIGKILL)
        assert wait_until(lambda: _daemon_of(hub) not in (0, daemon), limit_s=60)


def _daemon_of(hub: HubHere) -> int:
    """The process that listens on the hub's port; 0: none does."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return next((pid for pid in pids if listens(pid, hub.port)), 0)


def _age_s(pid: int) -> float:
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def test_a_second_one_is_refused(hub, serving):
    with serving():
        second = hub.run("serve")
    assert second.exit_code == 1 and "another `pushmirror serve` is running" in second.errors


def test_a_port_that_is_taken_ends_it_with_a_word_of_why(hub, serving):
    with serving():
        other = HubHere(hub.directory.with_name("other"))
        other.port = hub.port
        other.configure()
        result = other.run("serve")
    assert result.exit_code == 1
    assert "rsync ended with exit code 10" in result.errors and "ports of [serve]" in result.errors


def test_the_units_are_printed_and_nothing_is_started(hub):
    assert b"ExecStart=" in hub.run("serve", "--print", "systemd").check().output
    assert not says(hub.port, b"@RSYNCD:")


def test_nothing_to_serve_is_wrong_usage(hub):
    assert hub.run("serve", "--no-rsync", "--no-push").exit_code == 64
